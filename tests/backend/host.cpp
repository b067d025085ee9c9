// SPDX-License-Identifier: Apache-2.0
#include "grove/backend/host.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <thread>

#include "grove/backend/eigen/eigen.hpp"

using namespace grove;

TEST_CASE("host_pool: a released block serves the next request of its size class") {
    host_pool pool;
    void* const first = pool.acquire(1000);
    CHECK(reinterpret_cast<std::uintptr_t>(first) % host_pool::alignment == 0);
    pool.release(first, 1000);
    void* const second = pool.acquire(990);
    CHECK(second == first);
    CHECK(pool.fresh_allocations() == 1);
    void* const third = pool.acquire(1000);
    CHECK(third != second);
    CHECK(pool.fresh_allocations() == 2);
    pool.release(second, 990), pool.release(third, 1000);
}

TEST_CASE("host_pool: nothing is a block too, and threads may share a pool") {
    host_pool pool;
    void* const none = pool.acquire(0);
    CHECK(none != nullptr);
    pool.release(none, 0);
    auto work = [&] {
        for (std::size_t i = 0; i < 500; ++i) {
            void* const block = pool.acquire(64 + i % 7 * 100);
            *static_cast<int*>(block) = 1;
            pool.release(block, 64 + i % 7 * 100);
        }
    };
    std::thread other(work);
    work();
    other.join();
    CHECK(pool.fresh_allocations() <= 2 * 7 + 1);
}

TEST_CASE("host_buffer: slices keep their memory alive, even beyond the pool's owner") {
    auto pool = std::make_shared<host_pool>();
    host_buffer<int> part;
    {
        host_buffer<int> whole(pool, 100);
        for (int i = 0; i < 100; ++i) whole.data()[i] = i;
        part = whole.slice(40, 10).slice(2, 3);
    }
    host_buffer<int> const other(pool, 100);  // must not be given the block that `part` still reads
    std::fill_n(other.data(), 100, -1);
    pool.reset();
    CHECK(part.size() == 3);
    CHECK(part.data()[0] == 42);
    CHECK(part.span()[2] == 44);
}

TEST_CASE("host_buffer: copies share, the last one gives the block back") {
    auto pool = std::make_shared<host_pool>();
    {
        host_buffer<double> const x(pool, 8);
        auto const y = x;
        y.data()[3] = 5.0;
        CHECK(x.data()[3] == 5.0);
        host_buffer<double> const z(pool, 8);
        CHECK(pool->fresh_allocations() == 2);
    }
    host_buffer<double> const x(pool, 8), y(pool, 8);
    CHECK(pool->fresh_allocations() == 2);
}

TEST_CASE("eigen_backend: a steady loop takes no fresh memory") {
    eigen_backend b(2);
    std::vector<float> const x(64 * 100, 0.5f);
    auto step = [&] {
        auto const a = b.upload(std::span<float const>(x));
        auto const c = b.matmul({64, 64, 100, false, true}, a, a);
        return b.reduce_columns(reduction::sum, c, 64, 64).size();
    };
    step();
    auto const fresh = b.fresh_allocations();
    for (int i = 0; i < 20; ++i) step();
    CHECK(b.fresh_allocations() == fresh);
}
