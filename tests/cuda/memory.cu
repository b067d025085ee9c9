// SPDX-License-Identifier: Apache-2.0
// Memory of the device stops growing: a loop that has met its shapes takes nothing more, neither
// through the backend's pool nor past it.
#include <doctest/doctest.h>

#include <set>

#include "../backend/conformance.hpp"
#include "../instances/decoder_cuda.hpp"
#include "grove/rl/evaluate.hpp"
#include "grove/rl/preset.hpp"

using namespace grove;

namespace {

using conformance::up;
using numbers = std::vector<float>;

std::size_t free_memory() {
    std::size_t free = 0, total = 0;
    REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
    return free;
}
/// Calls step() so many times, and checks what it took from the device: no more than `slack`
/// blocks, none of which the device notices.
template <class Step>
void check_steady(cuda_backend& b, int times, Step step, std::uint64_t slack = 0) {
    b.synchronize();
    auto const free = free_memory();
    auto const fresh = b.system().fresh_allocations();
    CHECK(fresh > 0);
    for (int i = 0; i < times; ++i) step();
    b.synchronize();
    CHECK(b.system().fresh_allocations() <= fresh + slack);
    CHECK(free_memory() == free);
}

/// Steps as a trainer takes them: responses are sampled, then learned from with GRPO, a divergence
/// from a reference and a balance loss. Prompts are one token and there are always as many
/// responses, so that memory depends on nothing but how many tokens these have in all.
class small_run {
public:
    static constexpr index_t responses = 8, longest = 12;

    explicit small_run(cuda_backend& b)
        : backend_(b),
          model_(b, config(), 1),
          reference_(b, config(), 1),
          engine_(model_, {.max_new_tokens = longest, .end_tokens = {0, 1, 2, 3, 4, 5, 6, 7}}) {
        reference_.copy_from(model_);
    }

    /// Meets all that can come: every number of sequences that are left in sampling, and every
    /// number of tokens in learning.
    void warm_up() {
        for (index_t count = responses; count > 0; --count)
            for (int call = 0; call < 3; ++call) engine_(requests(count));
        for (index_t tokens = responses; tokens <= responses * longest; ++tokens) {
            std::vector<response> given;
            for (index_t i = 0; i < responses; ++i) {
                auto const length = tokens / responses + (i < tokens % responses);
                given.push_back({{9}, std::vector<std::int32_t>(std::size_t(length), 9)});
            }
            learn(given, numbers(std::size_t(tokens), -4));
        }
        for (int i = 0; i < 20; ++i) step();
    }
    void step() {
        std::vector<response> sampled;
        numbers old;
        auto const asked = requests(responses);
        auto const made = engine_(asked);
        for (std::size_t i = 0; i < made.size(); ++i) {
            sampled.push_back({asked[i].prompt, made[i].tokens});
            old.insert(old.end(), made[i].log_probability.begin(), made[i].log_probability.end());
        }
        lengths_.insert(old.size());
        learn(sampled, old);
    }
    /// Moves the routers' biases to other memory, so that recorded passes are recorded again.
    void balance() { balance_experts(model_, loads_, 1e-3); }
    /// How many tokens the responses of a step had.
    std::set<std::size_t> const& lengths() const { return lengths_; }

private:
    static decoder_config config() {
        return {.vocab_size = 64,
                .hidden_size = 32,
                .intermediate_size = 48,
                .num_hidden_layers = 2,
                .num_attention_heads = 4,
                .num_key_value_heads = 2,
                .max_position_embeddings = 16,
                .n_routed_experts = 8,
                .num_experts_per_tok = 2,
                .moe_intermediate_size = 16,
                .n_group = 4,
                .topk_group = 2};
    }
    std::vector<generation_request> requests(index_t count) {
        std::vector<generation_request> y;
        for (index_t i = 0; i < count; ++i)
            y.push_back({{static_cast<std::int32_t>(10 + i)},
                         {.seed = 5,
                          .stream = random_stream::rollout,
                          .visit = calls_,
                          .prompt = static_cast<std::uint32_t>(i)}});
        ++calls_;
        return y;
    }
    void learn(std::vector<response> const& given, numbers const& old) {
        using forward_pass = language_forward<cuda_backend, float>;
        auto const batch = language_batch::of(given);
        auto const reference = to_host(forward_pass(reference_)(backend_, batch).log_probability);
        numbers advantage;
        for (std::size_t i = 0; i < given.size(); ++i)  // the even last tokens are the good ones
            advantage.push_back(given[i].tokens.back() % 2 == 0 ? 1.0f : -1.0f);
        rl::token_batch<float> const tokens{.old_log_probability = old,
                                            .reference_log_probability = reference,
                                            .advantage = advantage,
                                            .offsets = batch.offsets};
        auto policy = rl::differentiable<float>(backend_, forward_pass(model_, 1.0, 0.01, &loads_));
        rl::grpo const objective{.kl_coefficient = 0.04};
        auto const now = policy.evaluate(batch, rl::request_of(objective));
        rl::token_statistics<float> gradient;
        rl::evaluate(objective, tokens, rl::count(tokens), now, gradient);
        policy.backward(gradient);
        optimizer_.step(model_, 1e-4);
    }

    cuda_backend& backend_;
    decoder<cuda_backend, float> model_, reference_;
    generator<cuda_backend, float> engine_;
    adamw<cuda_backend, float> optimizer_;
    expert_loads loads_;
    std::uint32_t calls_ = 0;
    std::set<std::size_t> lengths_;
};

}  // namespace

TEST_CASE("cuda: a steady loop takes no fresh memory") {
    cuda_backend b;
    numbers const x = random_values<float>(64 * 100, 13);
    auto const step = [&] {
        auto const a = up(b, x);
        auto const c = b.matmul({64, 64, 100, false, true}, a, a);
        auto const order = b.argsort(b.top_k(c, 64, 64, 3));
        b.scatter_add(c, 1, b.slice(order, 0, 64), 192);
        return b.top_k(c, 64, 64, 40).size();
    };
    for (int i = 0; i < 3; ++i) step();
    check_steady(b, 100, step);
}

TEST_CASE("cuda: a thousand steps of sampling and learning take no fresh memory") {
    cuda_backend b;
    small_run run(b);
    run.warm_up();
    check_steady(b, 1000, [&] { run.step(); });
    CHECK(run.lengths().size() > 20);
}

TEST_CASE("cuda: passes that are recorded again and again take no fresh memory") {
    cuda_backend b;
    small_run run(b);
    auto const step = [&] {
        run.step();
        run.balance();
    };
    run.warm_up();
    for (int i = 0; i < 100; ++i) step();
    // A pass that ran once and is not recorded yet holds its results: four blocks for each of the
    // sizes 1, 2, 4 and 8, all at once in the rarest of steps.
    check_steady(b, 300, step, 16);
}
