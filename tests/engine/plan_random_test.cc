// Captured functions against eager ones, bit for bit, on random programs; a program that differs is shrunk and printed.
// MOLLIFY_RANDOM_PROGRAMS: how many in place of the few thousand of every run.
#include "../cases.h"
#include "../devices.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace mollify {
namespace {

// One operation on square matrices [n, n]: `a` and `b` are numbers of earlier values.
struct Step {
  int kind, a, b;
};

constexpr int kInputs = 2;  // values 0 and 1; the others follow, one for each step

// A program's parts that are not its steps.
struct Setting {
  int64_t n;
  Device device;
};

struct Program {
  std::vector<Step> steps;
  std::vector<std::pair<int, bool>> outputs;  // a value, or its transpose
  bool gradient;                              // of the sum of the outputs, in both inputs, in place of the outputs
};

// What a program reads and overwrites from outside.
struct Surroundings {
  Tensor weights, step;
};

struct Kind {
  const char* name;
  Tensor (*run)(const Tensor& a, const Tensor& b, const Surroundings& around);
  bool overwrites = false;
};

Tensor rows(const Tensor& x, int64_t first, int64_t last) { return slice(x, 0, first, last); }

// Every operation keeps numbers of the size of 1, so that no difference hides in infinities.
const Kind kKinds[] = {
    {"tanh(a)", [](const Tensor& a, const Tensor&, const Surroundings&) { return tanh(a); }},
    {"a * 0.5", [](const Tensor& a, const Tensor&, const Surroundings&) { return a * 0.5; }},
    {"abs(a) - 0.25", [](const Tensor& a, const Tensor&, const Surroundings&) { return abs(a) - 0.25; }},
    {"(a + b) * 0.5", [](const Tensor& a, const Tensor& b, const Surroundings&) { return (a + b) * 0.5; }},
    {"a - b", [](const Tensor& a, const Tensor& b, const Surroundings&) { return a - b; }},
    {"sin(a) * b", [](const Tensor& a, const Tensor& b, const Surroundings&) { return sin(a) * b; }},
    {"maximum(a, b)", [](const Tensor& a, const Tensor& b, const Surroundings&) { return maximum(a, b); }},
    {"where(a > b, a, -b)",
     [](const Tensor& a, const Tensor& b, const Surroundings&) { return where(greater(a, b), a, -b); }},
    {"transpose(a)", [](const Tensor& a, const Tensor&, const Surroundings&) { return transpose(a); }},
    {"packed(transpose(a))", [](const Tensor& a, const Tensor&, const Surroundings&) { return packed(transpose(a)); }},
    {"flip(a, 0)", [](const Tensor& a, const Tensor&, const Surroundings&) { return flip(a, 0); }},
    {"flip(a, 1) + b", [](const Tensor& a, const Tensor& b, const Surroundings&) { return flip(a, 1) + b; }},
    {"a + transpose(b)", [](const Tensor& a, const Tensor& b, const Surroundings&) { return a + transpose(b); }},
    {"matmul(a, b) / n", [](const Tensor& a, const Tensor& b,
                            const Surroundings&) { return matmul(a, b) / static_cast<double>(a.dim(0)); }},
    {"matmul(a, transpose(b))",
     [](const Tensor& a, const Tensor& b, const Surroundings&) { return tanh(matmul(a, transpose(b))); }},
    {"a - mean(b, {1})", [](const Tensor& a, const Tensor& b, const Surroundings&) { return a - mean(b, {1}, true); }},
    {"a * mean(b, {0})", [](const Tensor& a, const Tensor& b, const Surroundings&) { return a * mean(b, {0}, true); }},
    {"cumsum(a, 0) / n",
     [](const Tensor& a, const Tensor&, const Surroundings&) { return cumsum(a, 0) / static_cast<double>(a.dim(0)); }},
    {"softmax(a)", [](const Tensor& a, const Tensor&, const Surroundings&) { return softmax(a); }},
    {"concat(halves of a and b)",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       const int64_t n = a.dim(0), half = n / 2;
       return concat(Tensors{tanh(rows(a, 0, half)), rows(b, half, n) * 2.0});
     }},
    {"concat(concat(a, tanh(b)), a), its middle",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       const int64_t n = a.dim(0);
       return rows(concat(Tensors{concat(Tensors{a * 1.0, tanh(b)}), -a}), n / 2, n / 2 + n);
     }},
    {"concat(tanh(a), concat(b, a)) cumulated, its end",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       const int64_t n = a.dim(0);
       return rows(cumsum(concat(Tensors{tanh(a), concat(Tensors{b - 1.0, a * 0.25})}), 1), 2 * n, 3 * n);
     }},
    {"the columns of a and of b, joined and folded",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       const Tensor both = concat(Tensors{a, b * 0.5}, 1);
       return slice(both, 1, 0, a.dim(0)) - slice(both, 1, a.dim(0), 2 * a.dim(0));
     }},
    {"split of a split of (a, b)",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       const int64_t n = a.dim(0);
       const Tensors outer = split(concat(Tensors{a, b}), {n, n}), inner = split(outer[1], {n / 2, n - n / 2});
       return outer[0] * concat(Tensors{inner[1], tanh(inner[0])});
     }},
    {"take(a, rows backwards, the first twice)",
     [](const Tensor& a, const Tensor&, const Surroundings&) {
       const Tensor backwards = static_cast<double>(a.dim(0) - 2) - arange(a.dim(0), DType::f32, a.device());
       return take(a, cast(clip(backwards, 0, 1e9), DType::i32));
     }},
    {"gather(a, argmax of b)",
     [](const Tensor& a, const Tensor& b, const Surroundings&) {
       return a - gather(a, reshape(argmax(b), {b.dim(0), 1}));
     }},
    {"reshape(a, one row), doubled and folded",
     [](const Tensor& a, const Tensor&, const Surroundings&) {
       return reshape(reshape(transpose(a), {1, a.size()}) * 0.75, a.shape());
     }},
    {"expand(first row of a) + b",
     [](const Tensor& a, const Tensor& b, const Surroundings&) { return expand(rows(a, 0, 1), b.shape()) + b; }},
    {"a + normal",
     [](const Tensor& a, const Tensor&, const Surroundings& s) {
       return a + normal(a.shape(), {5, 6}, s.step, DType::f32, a.device()) * 0.1;
     }},
    {"a * weights", [](const Tensor& a, const Tensor&, const Surroundings& s) { return a * s.weights; }},
    {"transpose(weights) - a",
     [](const Tensor& a, const Tensor&, const Surroundings& s) { return transpose(s.weights) - a; }},
    {"assign(weights, a)",
     [](const Tensor& a, const Tensor& b, const Surroundings& s) {
       no_grad([&] { assign(s.weights, a.detach()); });
       return b;
     },
     true},
    {"assign(weights, transpose(weights)), a - weights",
     [](const Tensor& a, const Tensor&, const Surroundings& s) {
       no_grad([&] { assign(s.weights, transpose(s.weights)); });
       return a - s.weights;
     },
     true},
    {"assign(rows of weights, of b)",
     [](const Tensor& a, const Tensor& b, const Surroundings& s) {
       const int64_t n = a.dim(0);
       no_grad([&] { assign(rows(s.weights, n / 2, n), rows(b.detach(), 0, n - n / 2)); });
       return a;
     },
     true},
};

std::string text_of(const Program& program, const Setting& setting) {
  std::ostringstream out;
  out << setting.n << " x " << setting.n << " on " << to_string(setting.device) << ", values 0 and 1 are inputs\n";
  for (size_t i = 0; i < program.steps.size(); ++i)
    out << i + kInputs << " = " << kKinds[program.steps[i].kind].name << " with a = " << program.steps[i].a
        << ", b = " << program.steps[i].b << "\n";
  out << (program.gradient ? "gradient of the sum of" : "returns");
  for (const auto& [value, transposed] : program.outputs) out << " " << value << (transposed ? " transposed" : "");
  return out.str();
}

Tensors outputs_of(const Program& program, const Tensors& in, const Surroundings& around) {
  std::vector<Tensor> values(in.begin(), in.end());
  for (const Step& step : program.steps)
    values.push_back(
        kKinds[step.kind].run(values[static_cast<size_t>(step.a)], values[static_cast<size_t>(step.b)], around));
  Tensors out(program.outputs.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const auto [value, transposed] = program.outputs[i];
    out[i] = transposed ? transpose(values[static_cast<size_t>(value)]) : values[static_cast<size_t>(value)];
  }
  return out;
}

Tensors run(const Program& program, const Tensors& in, const Surroundings& around) {
  if (!program.gradient) return outputs_of(program, in, around);
  const auto total = [&](const Tensor& a, const Tensor& b) {
    Tensor value = Tensor::scalar(0);
    for (const Tensor& t : outputs_of(program, {a, b}, around)) value = value + sum(t * t);
    return value;
  };
  return {grad([&](const Tensor& a) { return total(a, in[1]); })(in[0]),
          grad([&](const Tensor& b) { return total(in[0], b); })(in[1])};
}

std::vector<uint32_t> bits(const Tensor& t) {
  const std::vector<float> values = t.to_vector<float>();
  std::vector<uint32_t> out(values.size());
  std::memcpy(out.data(), values.data(), 4 * values.size());
  return out;
}

Tensor numbers(const Setting& setting, uint64_t stream) {
  return to(normal({setting.n, setting.n}, {11, stream}, Tensor::scalar(0, DType::i32)), setting.device);
}

// Empty where four calls of the captured program give the bits of the eager one and leave the same weights; else what
// went wrong.
// Results are held to the end.
std::string disagreement(const Program& program, const Setting& setting) try {
  const auto surroundings = [&] {
    return Surroundings{numbers(setting, 1000) + 0.0, Tensor::from(std::vector<int32_t>{0}, {})};
  };
  const Surroundings eager = surroundings(), captured = surroundings();
  Captured replay = capture([&](const Tensors& in) { return run(program, in, captured); });
  std::vector<std::pair<Tensors, Tensors>> all;
  for (int call = 0; call < 4; ++call) {
    const Tensors in{numbers(setting, static_cast<uint64_t>(2 * call)),
                     numbers(setting, static_cast<uint64_t>(2 * call + 1))};
    for (const Surroundings* s : {&eager, &captured}) assign(s->step, Tensor::from(std::vector<int32_t>{call}, {}));
    const Tensors wanted = run(program, in, eager), got = replay(in);
    Tensors copies(wanted.size());  // a later call may overwrite what is a view of the weights
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (bits(wanted[i]) != bits(got[i])) return format("result {} of call {} differs", i, call);
      copies[i] = packed(wanted[i]) + 0.0;
    }
    if (bits(eager.weights) != bits(captured.weights)) return format("the weights after call {} differ", call);
    all.push_back({copies, got});
  }
  const bool overwrites = std::any_of(program.steps.begin(), program.steps.end(),
                                      [](const Step& step) { return kKinds[step.kind].overwrites; });
  for (const auto& [wanted, got] : all)
    for (size_t i = 0; i < wanted.size(); ++i)
      if (!overwrites && bits(wanted[i]) != bits(got[i] + 0.0))
        return format("result {} changes once it was returned", i);
  return "";
} catch (const Error& error) {
  return error.what();
}

bool agrees(const Program& program, const Setting& setting) { return disagreement(program, setting).empty(); }

// Without step `i`: what read its value reads that of its first operand.
Program without(const Program& program, size_t i) {
  Program out = program;
  const int gone = static_cast<int>(i) + kInputs, instead = program.steps[i].a;
  const auto renamed = [&](int value) { return value == gone ? instead : value > gone ? value - 1 : value; };
  out.steps.erase(out.steps.begin() + static_cast<int64_t>(i));
  for (Step& step : out.steps) step = {step.kind, renamed(step.a), renamed(step.b)};
  for (auto& [value, transposed] : out.outputs) value = renamed(value);
  return out;
}

Program shrunk(Program program, const Setting& setting) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    std::vector<Program> candidates;
    for (size_t i = program.steps.size(); i-- > 0;) candidates.push_back(without(program, i));
    for (size_t i = 0; program.outputs.size() > 1 && i < program.outputs.size(); ++i) {
      candidates.push_back(program);
      candidates.back().outputs.erase(candidates.back().outputs.begin() + static_cast<int64_t>(i));
    }
    for (const Program& candidate : candidates)
      if (!agrees(candidate, setting)) {
        program = candidate;
        smaller = true;
        break;
      }
  }
  return program;
}

Program random_program(RandomSequence& random, bool gradient) {
  Program program{.steps = {}, .outputs = {}, .gradient = gradient};
  const int length = 1 + static_cast<int>(random.below(gradient ? 8 : 14));
  for (int i = 0; i < length; ++i) {
    const auto value = [&] {
      return static_cast<int>(random.below(3) == 0 ? random.below(static_cast<uint64_t>(i + kInputs))
                                                   : static_cast<uint64_t>(i + kInputs - 1) -
                                                         random.below(static_cast<uint64_t>(std::min(3, i + kInputs))));
    };
    Step step{0, value(), value()};
    do step.kind = static_cast<int>(random.below(std::size(kKinds)));
    while (gradient && kKinds[step.kind].overwrites);  // grad refuses weights that changed since
    program.steps.push_back(step);
  }
  const int64_t outputs = 1 + static_cast<int64_t>(random.below(3));
  for (int64_t i = 0; i < outputs; ++i)
    program.outputs.emplace_back(
        i == 0 ? length + kInputs - 1 : static_cast<int>(random.below(static_cast<uint64_t>(length + kInputs))),
        random.below(4) == 0);
  return program;
}

int64_t count_of(int64_t otherwise) {
  const char* text = std::getenv("MOLLIFY_RANDOM_PROGRAMS");
  return text ? std::atoll(text) : cases(otherwise);
}

void expect_agreement(int64_t count, bool gradient, Device device) {
  constexpr int64_t kExtents[] = {2, 7, 23, 40};
  RandomSequence random({static_cast<uint64_t>(gradient) + 2 * static_cast<uint64_t>(device), 77});
  for (int64_t i = 0; i < count; ++i) {
    const Setting setting{kExtents[random.below(std::size(kExtents))], device};
    const Program program = random_program(random, gradient);
    if (agrees(program, setting)) continue;
    const Program small = shrunk(program, setting);
    ADD_FAILURE() << "program " << i << ": " << disagreement(small, setting) << "\n" << text_of(small, setting);
    return;
  }
}

TEST(RandomPrograms, ReplayTheBitsOfTheEagerRun) { expect_agreement(count_of(3000), false, Device::cpu); }
TEST(RandomPrograms, SoDoTheirGradients) { expect_agreement(count_of(3000) / 2, true, Device::cpu); }

TEST(RandomPrograms, OnAGpuToo) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  expect_agreement(count_of(3000) / 4, false, Device::cuda);
  expect_agreement(count_of(3000) / 8, true, Device::cuda);
}

}  // namespace
}  // namespace mollify
