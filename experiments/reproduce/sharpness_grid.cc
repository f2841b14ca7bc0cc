// Sharpness and the smoothing by SGD's own noise (Sato & Iiduka, arXiv 2311.08745, figure 3): networks of many learning
// rates and batches, how sharp their loss is where they end, how accurate they are, and which of δ = ηC/√b, η/√b and
// η/b tells that best.
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/sharpness_report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/curvature.h>
#include <mollify/smoothing/gradient_noise.h>
#include <mollify/smoothing/sharpness.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

constexpr int64_t kWhileTraining = 100;  // test images after each epoch, which nothing reads

class SharpnessGrid final : public Experiment {
 public:
  const char* name() const override { return "sharpness"; }
  const char* summary() const override {
    return "Sharpness and accuracy over the smoothing by SGD's noise (Sato & Iiduka 2023, figure 3)";
  }
  std::vector<std::string> files() const override { return sharpness_files(); }
  Options options() override;
  std::vector<std::string> datasets() const override { return {"mnist", "digits", "cifar10", "cifar100"}; }
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  std::vector<double> listed(const char* option, const std::string& text, bool whole) const;
  TrainSettings settings(const SharpnessNetwork& network) const;
  Results train(const SharpnessNetwork& network, const std::filesystem::path& folder) const;
  void measure(const nn::Network& network, const nn::Loaded& last, const SharpnessNetwork& of, Results& results) const;
  std::vector<SharpnessNetwork> networks() const;

  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, epochs_ = 0;
  int64_t measured_ = 0, worst_batch_ = 0, worst_steps_ = 20, samples_ = 16, draws_ = 0;
  double rho_ = 2e-4, average_rho_ = 0.05, trained_below_ = 0.5;
  bool plain_ = false, normalised_ = false, eigenvalue_ = false;
  std::string model_, augment_, rates_, batches_;
  datasets::Splits images_;
};

Options SharpnessGrid::options() {
  Options all = shared_options("digits at tiny, cifar100 at paper, else cifar10");
  add(all,
      {{{"seeds", "Run", "networks of each setting", "3, 2 at tiny"}, &seeds_, at_least(1)},
       {{"model", "Training", "network", "cnn3; resnet18 at paper; cnn3_tiny at tiny"},
        &model_,
        one_of(nn::model_names())},
       {{"rates", "Training", "learning rates", "0.01,0.02,0.05,0.1; paper 0.01,0.05,0.1,0.5; tiny 0.05,0.1", false,
         false, "X,X"},
        &rates_,
        {}},
       {{"batches", "Training", "images in a batch", "8,16,32,64,128,256; paper 2, 4, ... 8192; tiny 8,16", false,
         false, "N,N"},
        &batches_,
        {}},
       {{"limit", "Training", "training images", "tiny 100, quick 4000, paper 50000"}, &limit_, at_least(2)},
       {{"test-limit", "Training", "test images", "tiny 50, else 10000"}, &test_limit_, at_least(1)},
       {{"epochs", "Training", "epochs", "tiny 1, quick 100, paper 200"}, &epochs_, at_least(1)},
       {{"augment", "Training", "auto: random crops and flips of cifar10 and cifar100", "off, paper auto"},
        &augment_,
        one_of({"auto", "off"})},
       {{"images", "Measures", "first training images, for sharpness and C²", "tiny 40, else 1024"},
        &measured_,
        at_least(2)},
       {{"rho", "Measures", "radius of the worst case's neighbourhood", nullptr}, &rho_, above(0)},
       {{"average-rho", "Measures",
         "deviation of the average's noise: at the worst case's radius the rise is lost in rounding", nullptr},
        &average_rho_,
        above(0)},
       {{"not-adaptive", "Measures", "the same for all weights, in place of units of each weight's magnitude", nullptr},
        &plain_,
        {}},
       {{"normalised-outputs", "Measures", "divide each image's outputs by their root mean square", nullptr},
        &normalised_,
        {}},
       {{"ascent-batch", "Measures", "images of a batch, whose worst case is looked for", "tiny 20, else 128"},
        &worst_batch_,
        at_least(1)},
       {{"ascent-steps", "Measures", "steps of the ascent", nullptr}, &worst_steps_, at_least(1)},
       {{"samples", "Measures", "samples of the average's noise, in antithetic pairs", nullptr},
        &samples_,
        at_least(4)},
       {{"eigenvalue", "Measures", "also the largest eigenvalue of the Hessian", nullptr}, &eigenvalue_, {}},
       {{"trained-below", "Measures", "training loss of networks that count as trained", nullptr},
        &trained_below_,
        above(0)},
       {{"draws", "Measures", "draws of the bootstrap", "tiny 50, else 1000"}, &draws_, at_least(2)}});
  return all;
}

std::vector<double> SharpnessGrid::listed(const char* option, const std::string& text, bool whole) const {
  std::vector<double> numbers;
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    const std::optional<double> number = number_of(text.substr(first, end - first));
    require<UsageError>(number && *number > 0 && (!whole || (*number == std::floor(*number) && *number <= 1e9)) &&
                            std::count(numbers.begin(), numbers.end(), *number) == 0,
                        "mollify reproduce {}: --{}: {} given; needs {} between commas, each once", name(), option,
                        text, whole ? "whole numbers from 1" : "numbers above 0");
    numbers.push_back(*number);
    first = end + 1;
  }
  return numbers;
}

void SharpnessGrid::resolve() {
  if (data.empty()) data = is("tiny") ? "digits" : is("paper") ? "cifar100" : "cifar10";
  resolve_shared();
  if (model_.empty()) model_ = is("tiny") ? "cnn3_tiny" : is("paper") ? "resnet18" : "cnn3";
  if (augment_.empty()) augment_ = is("paper") ? "auto" : "off";
  if (rates_.empty()) rates_ = is("tiny") ? "0.05,0.1" : is("paper") ? "0.01,0.05,0.1,0.5" : "0.01,0.02,0.05,0.1";
  if (batches_.empty())
    batches_ = is("tiny")    ? "8,16"
               : is("paper") ? "2,4,8,16,32,64,128,256,512,1024,2048,4096,8192"
                             : "8,16,32,64,128,256";
  choose(seeds_, 2, 3, 3);
  choose(limit_, 100, 4000, 50000);
  choose(test_limit_, 50, 10000, 10000);
  choose(epochs_, 1, 100, 200);
  choose(measured_, 40, 1024, 1024);
  choose(worst_batch_, 20, 128, 128);
  choose(draws_, 50, 1000, 1000);
  listed("rates", rates_, false);
  const std::vector<double> batches = listed("batches", batches_, true);
  const double largest = *std::max_element(batches.begin(), batches.end());
  require<UsageError>(largest < static_cast<double>(limit_),
                      "mollify reproduce {}: --batches: {} given; needs fewer than the {} training images", name(),
                      largest, limit_);
  require<UsageError>(measured_ <= limit_,
                      "mollify reproduce {}: --images: {} given; needs at most the {} training "
                      "images",
                      name(), measured_, limit_);
  require<UsageError>(2 * worst_batch_ <= measured_,
                      "mollify reproduce {}: --ascent-batch: {} given; needs at most half of the {} images", name(),
                      worst_batch_, measured_);
}

void SharpnessGrid::load() {
  images_ = load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()));
}

TrainSettings SharpnessGrid::settings(const SharpnessNetwork& network) const {
  TrainSettings settings({{"data", data},
                          {"data-dir", data_dir},
                          {"model", model_},
                          {"optimizer", "sgd"},
                          {"momentum", "0"},
                          {"weight-decay", "0"},
                          {"schedule", "constant"},
                          {"lr", format("{}", network.rate)},
                          {"batch", std::to_string(network.batch)},
                          {"epochs", std::to_string(epochs_)},
                          {"limit", std::to_string(limit_)},
                          {"seed", std::to_string(network.seed)},
                          {"augment", augment_},
                          {"device", device_request.device},
                          {"checkpoint-minutes", format("{}", checkpoint_minutes)}});
  settings.resolve();
  return settings;
}

Results SharpnessGrid::train(const SharpnessNetwork& of, const std::filesystem::path& folder) const {
  TrainSettings how = settings(of);
  Task task =
      make_task(how, {images_.train, datasets::take(images_.test, 0, std::min(kWhileTraining, images_.test.size()))});
  const nn::Network network = network_for(model_, images_.train);
  Results results;
  const bool finite = trained_weights(std::move(how), std::move(task), folder).defined();
  results.numbers["diverged"] = finite ? 0 : 1;
  if (finite) measure(network, nn::load(folder / "model.safetensors", network), of, results);
  return results;
}

// In evaluation mode, of images without augmentation.
void SharpnessGrid::measure(const nn::Network& network, const nn::Loaded& last, const SharpnessNetwork& of,
                            Results& results) const {
  const Tensor weights = to(last.weights, device), state = to(last.state, device);
  const datasets::Preparation plain = plain_preparation(data);
  const auto score = [&](const datasets::Dataset& images) {
    const auto found =
        evaluate(outputs_of(network, weights, state), device, images, plain, nn::mean_cross_entropy, 0, interrupted);
    if (!found) stop_if_interrupted();
    return Score{found->loss, 100 * found->accuracy()};
  };
  const Score train = score(images_.train), test = score(images_.test);
  const Images first = prepare(datasets::take(images_.train, 0, measured_), plain, device);
  const auto take = [&](std::span<const int32_t> which) {
    stop_if_interrupted();
    const Images some = chosen(first, which);
    return Tensors{some.images, some.labels};
  };
  const auto seed = static_cast<uint64_t>(of.seed);
  const smoothing::SampleLosses losses =
      smoothing::losses_of(network, state, measured_, take, {.normalised_outputs = normalised_});
  const smoothing::SampleLosses trained_losses = smoothing::losses_of(network, state, measured_, take);
  const double c2 = smoothing::GradientNoise(trained_losses, weights, seed).from_singles().c2;
  results.numbers["train_loss"] = train.loss;
  results.numbers["train_accuracy"] = train.accuracy;
  results.numbers["test_loss"] = test.loss;
  results.numbers["test_accuracy"] = test.accuracy;
  results.numbers["gap"] = train.accuracy - test.accuracy;
  results.numbers["c2"] = c2;
  results.numbers["delta"] = smoothing::degree_of_smoothing(of.rate, c2, of.batch, limit_);
  results.numbers["worst"] =
      smoothing::worst_case_sharpness(
          losses, weights,
          {.rho = rho_, .adaptive = !plain_, .batch = worst_batch_, .steps = worst_steps_, .seed = seed})
          .value;
  results.numbers["average"] =
      smoothing::average_sharpness(losses, weights,
                                   {.rho = average_rho_, .adaptive = !plain_, .samples = samples_, .seed = seed})
          .value;
  if (eigenvalue_)
    results.numbers["eigenvalue"] =
        smoothing::largest_eigenvalues(smoothing::hessian_of(losses, weights), 1, {.tolerance = 1e-3, .seed = seed})
            .values[0];
}

std::vector<SharpnessNetwork> SharpnessGrid::networks() const {
  std::vector<SharpnessNetwork> all;
  for (const double batch : listed("batches", batches_, true))
    for (const double rate : listed("rates", rates_, false))
      for (int64_t seed = 0; seed < seeds_; ++seed) all.push_back({rate, static_cast<int64_t>(batch), seed, {}});
  return all;
}

Report SharpnessGrid::run(Grid& grid, const std::filesystem::path& folder) {
  SharpnessFindings findings{
      format("Sharpness and the smoothing δ = rate·C/√batch by SGD's noise (Sato & Iiduka 2023, arXiv 2311.08745).\n"
             "Scale {}, {} on {}: {} training images{}, {} test images; SGD without momentum and weight decay, {} "
             "epochs at a constant rate; {} seeds.\n"
             "Sharpness in ℓ∞ of radius {}{}{}, {} images, batches of {}, Auto-PGD of {} steps; the average over {} "
             "samples of normal noise of deviation {}; C² of the same images at the final weights.\n",
             scale, model_, data, limit_,
             augment_ == "off" || (data != "cifar10" && data != "cifar100") ? "" : " with random crops and flips",
             test_limit_, epochs_, seeds_, rho_, plain_ ? "" : " in units of each weight's magnitude",
             normalised_ ? ", outputs normalised" : "", measured_, worst_batch_, worst_steps_, samples_, average_rho_),
      format("{} on {}, {} seeds", model_, data, seeds_), trained_below_, draws_, networks()};
  std::vector<Cell> cells;
  for (const SharpnessNetwork& network : findings.networks)
    cells.push_back({format("rate={} batch={} seed={}", network.rate, network.batch, network.seed),
                     [this, network](const auto& own) { return train(network, own); }});
  const std::vector<Results> found = grid.run("networks", cells);
  for (size_t i = 0; i < cells.size(); ++i) findings.networks[i].results = found[i];
  write_files(findings, folder);
  return report_of(findings);
}

}  // namespace

std::shared_ptr<Experiment> sharpness_grid() { return std::make_shared<SharpnessGrid>(); }

}  // namespace mollify::experiments
