// SPDX-License-Identifier: Apache-2.0
// A larger decoder taught to a smaller one: imitation of its answers, divergence from it on the
// same answers, and on the student's own.
//
// The teacher learns sums of two-digit numbers from worked solutions in which every seventh step is
// wrong, and writes answers to 512 problems. A smaller decoder imitates these, and goes on in four
// ways for equally many steps.
#include <iostream>

#include "grove/grove.hpp"
#include "grove/io/table.hpp"

namespace {

using grove::index_t;
using backend = grove::eigen_backend;
using model = grove::decoder<backend>;
using examples = std::vector<grove::response>;

grove::addition const sums{.digits = 2};
grove::symbol_tokenizer const tokens(grove::addition::alphabet);
index_t const batch = 64, teacher_steps = 200, first_steps = 200, steps = 200;

grove::decoder_config sized(index_t width, index_t layers) {
    return {.vocab_size = tokens.vocabulary_size(),
            .hidden_size = width,
            .intermediate_size = 3 * width,
            .num_hidden_layers = layers,
            .num_attention_heads = width / 16,
            .num_key_value_heads = width / 16,
            .head_dim = 16,
            .max_position_embeddings = 64,
            .initializer_range = 0.08};
}
grove::generation_options generation(double temperature) {
    grove::generation_options options;
    options.sampling.temperature = temperature;
    options.max_new_tokens = 40;
    options.end_tokens = {tokens.end_id()};
    return options;
}
std::vector<std::int32_t> prompt_of(grove::problem const& problem) {
    return tokens.encode(grove::r1_zero_compact().render(problem.question));
}

// Demonstrations first … first + batch of an unreliable writer.
examples demonstrations(index_t first) {
    grove::base_data const data(grove::problem_set(sums, 1),
                                {.direct = 0, .empty_think = 0, .worked = 1, .slip_rate = 0.15});
    examples all;
    for (index_t i = first; i < first + batch; ++i) {
        auto const [prompt, text] = data[i];
        auto answer = tokens.encode(text);
        answer.push_back(tokens.end_id());
        all.push_back({tokens.encode(prompt), std::move(answer)});
    }
    return all;
}
// What the teacher writes about `count` problems.
examples answers(model const& teacher, index_t count) {
    grove::problem_set const problems(sums, 2);
    std::vector<grove::generation_request> requests;
    for (index_t i = 0; i < count; ++i)
        requests.push_back({prompt_of(problems[i]), {.prompt = static_cast<std::uint32_t>(i)}});
    grove::generator engine(teacher, generation(1.0));
    auto completions = engine(requests);
    examples all;
    for (std::size_t i = 0; i < completions.size(); ++i)
        all.push_back({requests[i].prompt, std::move(completions[i].tokens)});
    return all;
}
// The share of right answers, in %, to sums that nobody has trained on.
double accuracy(model const& policy, double temperature) {
    grove::problem_set const problems(sums, 3, grove::problem_split::held_out);
    std::vector<grove::generation_request> requests;
    for (index_t i = 0; i < 500; ++i)
        requests.push_back({prompt_of(problems[i]), {.prompt = static_cast<std::uint32_t>(i)}});
    grove::generator engine(policy, generation(temperature));
    auto const completions = engine(requests);
    double right = 0;
    for (std::size_t i = 0; i < completions.size(); ++i)
        right += *grove::accuracy_reward<>{}(
            "", tokens.decode(completions[i].tokens, grove::shown_specials::tags),
            problems[static_cast<index_t>(i)].answer);
    return 100 * right / static_cast<double>(completions.size());
}

// Maximum likelihood of the teacher's answers.
void imitate(model& student, examples const& data, index_t count) {
    grove::supervised_trainer<backend, float> trainer(student, {});
    grove::cosine_schedule const rate{3e-3, count, 10};
    for (index_t step = 0; step < count; ++step) {
        auto const first = data.begin() + step * batch % std::ssize(data);
        trainer.step(examples(first, first + batch), rate(step));
    }
}
// Towards the teacher's distributions, on a share of the student's own answers.
void distil(model& student, model const& teacher, grove::distill::generalized_jsd law,
            double student_share, examples const& data) {
    grove::distillation_options options;
    options.prompts_per_step = batch;
    options.problem_count = std::ssize(data);
    options.student_share = student_share;
    options.generation = generation(1.0);
    grove::distillation_trainer trainer(student, teacher, law, options,
                                        grove::cosine_schedule{3e-3, steps, 10});
    trainer.run(
        steps, [&](index_t i) { return data[static_cast<std::size_t>(i)]; },
        [](grove::distillation_report const& report) {
            if ((report.step + 1) % 50 == 0)
                std::cout << "  step " << report.step + 1 << ", divergence "
                          << report.metrics.values.front().value << " nats a token\n";
        });
}

}  // namespace

int main() {
    backend b;
    model teacher(b, sized(96, 3), 1);
    grove::supervised_trainer<backend, float> lessons(teacher, {});
    grove::cosine_schedule const rate{3e-3, teacher_steps, 10};
    std::cout << "teacher: " << teacher_steps << " steps on unreliable solutions\n";
    for (index_t step = 0; step < teacher_steps; ++step)
        lessons.step(demonstrations(step * batch), rate(step));

    examples const data = answers(teacher, 512);
    grove::table table({"", "weights", "sampled, %", "greedy, %"});
    auto const add = [&](std::string const& name, model& m) {
        table.row({name, m.parameter_count(), accuracy(m, 1.0), accuracy(m, 0.0)});
    };
    add("teacher", teacher);
    std::cout << "student: " << first_steps << " steps of imitation\n";
    model beginner(b, sized(48, 2), 2);
    imitate(beginner, data, first_steps);
    add("student, " + std::to_string(first_steps) + " steps of imitation", beginner);

    // From here on four students, each by its own way.
    auto const teach = [&](std::string const& name, auto const& lesson) {
        std::cout << name << '\n';
        model student(b, sized(48, 2), 2);
        student.copy_from(beginner);
        lesson(student);
        add("  … and " + std::to_string(steps) + " by " + name, student);
    };
    using jsd = grove::distill::generalized_jsd;
    teach("imitation", [&](model& m) { imitate(m, data, steps); });
    teach("forward KL on the teacher's answers",
          [&](model& m) { distil(m, teacher, jsd{0.0}, 0.0, data); });
    teach("JSD, half on its own answers",
          [&](model& m) { distil(m, teacher, jsd{0.5}, 0.5, data); });
    teach("reverse KL on its own answers",
          [&](model& m) { distil(m, teacher, jsd{1.0}, 1.0, data); });
    std::cout << '\n' << table.text();
}
