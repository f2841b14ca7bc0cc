// Steps of a run: captured ones leave the bits of eager ones, results come in order, and devices agree.
#include <mollify/engine/cuda/gpu.h>
#include <mollify/experiments/training/training_step.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace mollify::experiments {
namespace {

constexpr int64_t kClasses = 4, kBatch = 6, kImages = 27, kBatches = 5;

datasets::Batch batch_of(const Shape& image, int64_t number) {
  const int64_t rows = (number + 1) % kBatches == 0 ? kImages % kBatch : kBatch;  // an epoch's last batch is smaller
  Shape shape = image;
  shape.insert(0, rows);
  std::vector<int32_t> labels, indices(static_cast<size_t>(rows));
  for (int32_t i = 0; i < rows; ++i) indices[static_cast<size_t>(i)] = i;
  for (int32_t i = 0; i < rows; ++i) labels.push_back(static_cast<int32_t>((i + number) % kClasses));
  return {uniform(shape, {3, 1}, Tensor::scalar(static_cast<double>(number), DType::i32)), Tensor::from(labels, {rows}),
          indices};
}

// All that a step reads of a task: it has no images.
Task task_of(nn::Network network, LossFunction loss, const Timetable& timetable,
             std::unique_ptr<optim::Optimizer> optimizer) {
  return {.train = {},
          .validation = {},
          .test = {},
          .training = {},
          .plain = {},
          .network = std::move(network),
          .loss = loss,
          .timetable = timetable,
          .device = Device::cpu,
          .optimizer = std::move(optimizer)};
}

// What training leaves behind.
struct Trained {
  std::vector<double> losses, weights, state;
  std::vector<int64_t> correct;
};

struct Job {
  std::function<nn::Network()> network;
  TrainSettings::Texts options = {};
  LossFunction loss = nn::mean_cross_entropy;
  bool adam = false;
  int64_t steps = 3 * kBatches;

  Trained run(bool capture, Device device = Device::cpu) const {
    TrainSettings settings(options);
    settings.resolve();
    settings.run().capture = capture;
    const optim::Schedule rate = optim::cosine(0.01, steps);
    const Task task = task_of(network(), loss, Timetable(kImages, {kBatch}),
                              adam ? optim::adam(rate, {.clip_norm = 1}) : optim::sgd(rate, {.momentum = 0.9}));
    const Tensor weights = to(task.network.initial_weights(nn::Initialization::fan_in_uniform, 1), device);
    const Tensor state = to(task.network.initial_state(), device);
    TrainingStep step(settings, task, weights, state);
    Trained out;
    const auto note = [&](const std::vector<StepResult>& results) {
      for (const StepResult& result : results) {
        EXPECT_EQ(result.step, static_cast<int64_t>(out.losses.size()) + 1);
        out.losses.push_back(result.loss);
        out.correct.push_back(result.correct);
      }
    };
    for (int64_t i = 0; i < steps; ++i) {
      step.launch(batch_of(task.network.input(), i));
      note(step.results(/*all=*/false));
    }
    EXPECT_LT(static_cast<int64_t>(out.losses.size()), steps);
    note(step.results(/*all=*/true));
    EXPECT_EQ(static_cast<int64_t>(out.losses.size()), steps);
    out.weights = cast(weights, DType::f64).to_vector<double>();
    out.state = cast(state, DType::f64).to_vector<double>();
    return out;
  }
};

void expect_same_captured(const Job& job) {
  const Trained eager = job.run(false), captured = job.run(true);
  EXPECT_EQ(captured.losses, eager.losses);
  EXPECT_EQ(captured.correct, eager.correct);
  EXPECT_EQ(captured.weights, eager.weights);
  EXPECT_EQ(captured.state, eager.state);
  EXPECT_NE(eager.losses.front(), eager.losses.back());
}

std::function<nn::Network()> model(const std::string& name, const Shape& image) {
  return [=] { return nn::make(name, image, kClasses); };
}

nn::Network with_dropout() {
  std::vector<nn::LayerPointer> layers;
  layers.push_back(nn::flatten());
  layers.push_back(nn::dense(12));
  layers.push_back(nn::relu());
  layers.push_back(nn::dropout(0.4));
  layers.push_back(nn::dense(kClasses));
  return {"with_dropout", {6, 6, 1}, nn::sequential(std::move(layers))};
}

Job smoothed() {
  return {.network = model("cnn", {12, 12, 1}),
          .options = {{"loss", "squared_error"}, {"sigma", "0.3"}, {"sigma-decay", "0.5"}},
          .loss = nn::mean_squared_error};
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* other) { return name == other; });
}

bool is_noisy(const std::string& name) { return find(make_objective(name)->options(), "noise"); }

// Weights that heat's teacher has, in a file for as long as the tests run.
std::string teacher() {
  static const struct File {
    std::string path =
        (std::filesystem::temp_directory_path() / format("mollify_teacher_{}.safetensors", getpid())).string();
    File() {
      const nn::Network network = nn::make("cnn3_tiny", {12, 12, 1}, kClasses);
      nn::save(path, network, network.initial_weights(nn::Initialization::kaiming_normal, 8), network.initial_state(),
               {});
    }
    ~File() { std::filesystem::remove(path); }
  } file;
  return file.path;
}

Job with_objective(const std::string& name) {
  Job job{.network = model("cnn3_tiny", {12, 12, 1}), .adam = true, .steps = 6 * kBatches};
  if (is_noisy(name)) {
    job.options = {{"objective", name}, {"noise", "0.2"}, {"noise-draws", name == "heat" ? "1" : "2"}, {"epochs", "6"}};
    if (name == "heat") job.options.insert({{"teacher", teacher()}, {"heat-repeats", "2"}});
    if (name == "smoothadv" || name == "heat") job.options.insert({{"l2-steps", "2"}, {"l2-eps", "0.3"}});
    if (name == "smoothmix") job.options["smoothmix-steps"] = "2";
    job.steps = 2 * kBatches;
    return job;
  }
  job.options = {{"objective", name}, {"eps", "0.1"}, {"epochs", "6"}, {"eps-start", "1"}, {"eps-epochs", "3"}};
  if (is_one_of(name, {"pgd", "sabr", "mtl-ibp"})) job.options["attack-steps"] = "2";
  if (name != "pgd") job.options["kappa-start"] = "1";
  if (name == "crown-ibp") job.options["mix"] = "0";
  return job;
}

TEST(TrainingStep, CapturedIsEagerForPlainNetworks) {
  expect_same_captured({.network = model("cnn", {12, 12, 1})});
  expect_same_captured({.network = model("lenet_300_100", {6, 6, 1}), .adam = true});  // batch norm
}
TEST(TrainingStep, CapturedIsEagerWithDropout) {
  expect_same_captured({.network = with_dropout});
  Job job{.network = with_dropout}, other = job;
  other.options["seed"] = "1";
  EXPECT_NE(job.run(true).losses, other.run(true).losses);
}
// Parts of 4 and 2 images. The regulariser of Shi et al. 2021 is no mean over images: each part has its own.
TEST(TrainingStep, BatchesInPartsTakeTheSameSteps) {
  for (const std::string& name : objective_names()) {
    Job job = name == "natural" ? Job{.network = model("cnn3_tiny", {12, 12, 1})} : with_objective(name);
    job.steps = 2 * kBatches;  // the radius grows in the second epoch
    if (name != "natural" && name != "pgd" && !is_noisy(name)) job.options["regularizer"] = "0";
    Job in_parts = job;
    in_parts.options["rows"] = "4";
    expect_same_captured(in_parts);
    if (is_noisy(name)) continue;  // a part's noise is its own
    const Trained whole = job.run(true), parts = in_parts.run(true);
    EXPECT_EQ(parts.correct, whole.correct) << name;
    for (size_t i = 0; i < whole.losses.size(); ++i)
      EXPECT_NEAR(parts.losses[i], whole.losses[i], 2e-4 * std::abs(whole.losses[i])) << name << ", step " << i;
  }
  Job dropped{.network = with_dropout, .options = {{"rows", "6"}}}, in_parts = dropped;
  in_parts.options["rows"] = "3";
  EXPECT_EQ(dropped.run(true).losses, Job{.network = with_dropout}.run(true).losses);
  EXPECT_NE(in_parts.run(true).losses.front(), dropped.run(true).losses.front());
  EXPECT_THROW((Job{.network = model("lenet_300_100", {6, 6, 1}), .options = {{"rows", "3"}}}.run(true)), UsageError);
}
TEST(TrainingStep, CapturedIsEagerForResidualNetworks) {
  expect_same_captured({.network = model("resnet18", {8, 8, 3}), .steps = 3});
}
TEST(TrainingStep, CapturedIsEagerForSmoothedNetworks) { expect_same_captured(smoothed()); }
TEST(TrainingStep, CapturedIsEagerForEveryObjective) {
  for (const std::string& name : objective_names()) {
    if (name == "natural") continue;
    SCOPED_TRACE(name);
    expect_same_captured(with_objective(name));
  }
}

// Batches of several sizes: each is captured anew, and the numbers are those of eager steps.
TEST(TrainingStep, CapturesBatchesOfEverySize) {
  const auto trained = [](bool capture) {
    TrainSettings settings({{"objective", "ibp"}, {"eps", "0.1"}, {"epochs", "3"}, {"eps-epochs", "2"}});
    settings.resolve();
    settings.run().capture = capture;
    const Task task = task_of(nn::make("cnn3_tiny", {12, 12, 1}, kClasses), nn::mean_cross_entropy,
                              Timetable(24, {4, 8, 12}), optim::adam(optim::constant(0.01)));
    const Tensor weights = task.network.initial_weights(nn::Initialization::ibp, 1);
    TrainingStep step(settings, task, weights, task.network.initial_state());
    std::vector<double> losses;
    for (int64_t epoch = 0; epoch < 3; ++epoch)
      for (int64_t i = 0; i < task.timetable.steps(epoch); ++i) {
        const int64_t rows = task.timetable.batch(epoch);
        std::vector<int32_t> indices(static_cast<size_t>(rows), 1);
        step.launch({uniform({rows, 12, 12, 1}, {3, 1}, Tensor::scalar(static_cast<double>(losses.size()), DType::i32)),
                     Tensor::from(indices, {rows}), indices});
        losses.push_back(step.results(/*all=*/true).at(0).loss);
      }
    return losses;
  };
  const std::vector<double> eager = trained(false);
  EXPECT_EQ(trained(true), eager);
  EXPECT_EQ(eager.size(), 6u + 3 + 2);
}

TEST(TrainingStep, TellsWhatIsNotCaptured) {
  const auto text = [](Job job, bool capture) {
    TrainSettings settings(job.options);
    settings.resolve();
    settings.run().capture = capture;
    const Task task = task_of(job.network(), job.loss, Timetable(kImages, {kBatch}), nullptr);
    return TrainingStep(settings, task, task.network.initial_weights(nn::Initialization::ibp, 1),
                        task.network.initial_state())
        .uncaptured();
  };
  EXPECT_EQ(text(with_objective("ibp"), true), "");
  EXPECT_NE(text(with_objective("sabr"), true).find("attacks"), std::string::npos);
  EXPECT_NE(text(with_objective("ibp"), false).find("steps"), std::string::npos);
  EXPECT_NE(text(with_objective("deeppoly"), true).find("bounds"), std::string::npos);
}

// Replays are compared with eager steps on the CPU for every objective; here they are for one of each kind of network.
TEST(TrainingStep, DevicesAgree) {
  if (!cuda::available()) GTEST_SKIP() << cuda::unavailable_reason();
  const auto agree = [](Job job, int64_t steps, const std::vector<bool>& captures) {
    job.steps = steps;
    const Trained on_cpu = job.run(true, Device::cpu);
    for (const bool capture : captures) {
      const Trained on_gpu = job.run(capture, Device::cuda);
      ASSERT_EQ(on_gpu.weights.size(), on_cpu.weights.size());
      for (size_t i = 0; i < on_cpu.losses.size(); ++i) EXPECT_NEAR(on_gpu.losses[i], on_cpu.losses[i], 1e-4) << i;
      for (size_t i = 0; i < on_cpu.weights.size(); ++i) ASSERT_NEAR(on_gpu.weights[i], on_cpu.weights[i], 1e-4) << i;
    }
  };
  for (const Job& job : {Job{.network = model("cnn3_tiny", {12, 12, 1})},
                         Job{.network = model("lenet_300_100", {6, 6, 1})}, Job{.network = with_dropout}, smoothed()})
    agree(job, 2 * kBatches, {false, true});
  // Full batches are replayed from the third step on; the radius grows from the first.
  for (const char* objective : {"ibp", "hbox", "deepz", "crown-ibp", "deeppoly", "sabr", "mtl-ibp"}) {
    Job job = with_objective(objective);
    job.options["eps-start"] = "0";
    agree(job, kBatches - 1, {true});
  }
}

}  // namespace
}  // namespace mollify::experiments
