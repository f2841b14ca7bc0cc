// Tails and size of the noise of minibatch gradients (Sato & Iiduka, arXiv 2311.08745): of networks before, during and
// after their training, by batches of several sizes.
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/noise_tails_report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/gradient_noise.h>
#include <mollify/smoothing/gradient_tails.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace mollify::experiments {
namespace {

using namespace noise_tails_study;

class NoiseTails final : public Experiment {
 public:
  const char* name() const override { return "noise-tails"; }
  const char* summary() const override {
    return "tails and size of minibatch gradients' noise before, during and after training (Sato & Iiduka)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "quantiles.svg", "tails.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  double estimated_seconds() const override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  TrainSettings settings(int64_t seed) const;
  Results train(int64_t seed, const std::filesystem::path& folder) const;
  Results measure(const std::filesystem::path& weights, int64_t batch, int64_t seed) const;
  smoothing::SampleLosses losses(const Tensor& state) const;
  std::string heading() const;

  int64_t seeds_ = 0, limit_ = 0, epochs_ = 0, draws_ = 0, coordinates_ = 10000, train_batch_ = 32;
  double rate_ = 0.1;
  std::string model_, batches_text_;
  std::vector<int64_t> stages_, batches_;
  datasets::Splits images_;
  Images prepared_;
  nn::Network network_ = nn::make("linear", {1, 1, 1}, 2);
};

std::string weights_file(int64_t stage) { return format("weights-{}.safetensors", stage); }

Options NoiseTails::options() {
  Options all = shared_options();
  add(all, {{{"seeds", "Run", "networks", "3, 2 at tiny"}, &seeds_, at_least(1)},
            {{"model", "Training", "network", "cnn3; cnn3_tiny at tiny; resnet18 at paper"},
             &model_,
             one_of(nn::model_names())},
            {{"limit", "Training", "training images, all of whose gradients are the full one",
              "tiny 100, quick 6000, paper all"},
             &limit_,
             at_least(2)},
            {{"epochs", "Training", "the noise is measured before the first, after it and after the last",
              "tiny 2, quick 10, paper 200"},
             &epochs_,
             at_least(1)},
            {{"lr", "Training", "SGD's constant learning rate, without momentum", nullptr}, &rate_, above(0)},
            {{"train-batch", "Training", "images in its batches", nullptr}, &train_batch_, at_least(1)},
            {{"batches", "Noise", "sizes of the batches whose noise is measured",
              "tiny 4,16, quick 16,64,256, paper 16,128,1024"},
             &batches_text_,
             {}},
            {{"draws", "Noise", "batches of each size", "tiny 20, else 1000"}, &draws_, at_least(2)},
            {{"coordinates", "Noise", "weights whose noise is kept for Hill's index and quantiles", nullptr},
             &coordinates_,
             at_least(1)}});
  return all;
}

void NoiseTails::resolve() {
  if (data.empty() && is("paper")) data = "cifar10";
  resolve_shared();
  if (model_.empty()) model_ = is("tiny") ? "cnn3_tiny" : is("paper") ? "resnet18" : "cnn3";
  choose(seeds_, 2, 3, 3);
  choose(limit_, 100, 6000, data == "cifar10" ? 50000 : 60000);
  choose(epochs_, 2, 10, 200);
  choose(draws_, 20, 1000, 1000);
  if (batches_text_.empty()) batches_text_ = is("tiny") ? "4,16" : is("paper") ? "16,128,1024" : "16,64,256";
  const auto batches = rising_numbers(batches_text_);
  require<UsageError>(batches && batches->back() < limit_,
                      "mollify reproduce {}: --batches: {} given; needs rising whole numbers between commas, below the "
                      "{} images",
                      name(), batches_text_, limit_);
}

void NoiseTails::load() {
  batches_ = *rising_numbers(batches_text_);
  stages_ = epochs_ == 1 ? std::vector<int64_t>{0, 1} : std::vector<int64_t>{0, 1, epochs_};
  images_ = load_images(data, data_dir, limit_, is("tiny") ? 20 : 0, format("mollify reproduce {}: --limit", name()));
  prepared_ = prepare(images_.train, plain_preparation(data), device);
  network_ = network_for(model_, images_.train);
}

TrainSettings NoiseTails::settings(int64_t seed) const {
  TrainSettings settings({{"data", data},
                          {"data-dir", data_dir},
                          {"model", model_},
                          {"optimizer", "sgd"},
                          {"lr", format("{}", rate_)},
                          {"momentum", "0"},
                          {"weight-decay", "0"},
                          {"schedule", "constant"},
                          {"augment", "off"},
                          {"epochs", std::to_string(epochs_)},
                          {"batch", std::to_string(train_batch_)},
                          {"limit", std::to_string(limit_)},
                          {"seed", std::to_string(seed)},
                          {"device", device_request.device},
                          {"checkpoint-minutes", format("{}", checkpoint_minutes)}});
  settings.resolve();
  return settings;
}

// Its folder keeps the weights of every stage.
Results NoiseTails::train(int64_t seed, const std::filesystem::path& folder) const {
  TrainSettings settings = this->settings(seed);
  auto about = metadata_of(plain_preparation(data));
  about["data"] = data;
  const auto keep = [&](int64_t stage, const Tensor& weights, const Tensor& state) {
    nn::save(folder / weights_file(stage), network_, to(weights, Device::cpu), to(state, Device::cpu), about);
  };
  keep(0,
       network_.initial_weights(nn::initialization_named(settings.run().initialization), static_cast<uint64_t>(seed)),
       network_.initial_state());
  RunEvents events;
  events.trained = [&](int64_t epoch, const Tensor& weights, const Tensor& state, const Positions*) {
    if (std::find(stages_.begin(), stages_.end(), epoch + 1) != stages_.end()) keep(epoch + 1, weights, state);
  };
  Task task = make_task(settings, {images_.train, images_.test});
  const bool diverged = !trained_weights(std::move(settings), std::move(task), folder, events).defined();
  Results results{.numbers = {{"diverged", diverged}}};
  if (!diverged) results.numbers["accuracy"] = 100 * read_history(folder, epochs_).metrics.back().test.accuracy;
  return results;
}

smoothing::SampleLosses NoiseTails::losses(const Tensor& state) const {
  return smoothing::losses_of(network_, state, prepared_.count(), [this](std::span<const int32_t> which) {
    stop_if_interrupted();
    const Images batch = chosen(prepared_, which);
    return Tensors{batch.images, batch.labels};
  });
}

// Of the batches that the tails are taken from.
Results NoiseTails::measure(const std::filesystem::path& file, int64_t batch, int64_t seed) const {
  const nn::Loaded loaded = nn::load(file, network_);
  smoothing::GradientNoise noise(losses(to(loaded.state, device)), to(loaded.weights, device),
                                 static_cast<uint64_t>(seed));
  std::vector<double> sizes;
  Tensor squares;
  const smoothing::Tails tails = smoothing::tails_of(
      [&](int64_t number) {
        const Tensor deviation = noise.deviation(batch, number), square = mollify::square(deviation);
        sizes.push_back(sum(square).item());
        squares = squares.defined() ? squares + square : square;
        return deviation;
      },
      {.draws = draws_, .coordinates = coordinates_, .seed = static_cast<uint64_t>(seed)});
  const double n = static_cast<double>(prepared_.count()), b = static_cast<double>(batch),
               factor = b * (n - 1) / (n - b);
  const Summary size = summary_of(sizes);
  // Of normal numbers E x⁴ = 3s⁴.
  const double mixture = 3 * mean(mollify::square(squares)).item() / std::pow(mean(squares).item(), 2) - 3;
  return {.numbers = {{"kurtosis", tails.kurtosis},
                      {"median_kurtosis", tails.median_kurtosis},
                      {"raw_kurtosis", tails.raw_kurtosis},
                      {"mixture_kurtosis", mixture},
                      {"hill", tails.hill},
                      {"hill_error", tails.hill_error},
                      {"normal_hill", tails.normal_hill},
                      {"c2", size.mean * factor},
                      {"c2_error", size.deviation * factor / std::sqrt(static_cast<double>(size.count))},
                      {"squared_gradient", sum_of_squares(noise.full_gradient()).item()},
                      {"weights", static_cast<double>(tails.weights)},
                      {"constant", static_cast<double>(tails.constant)}},
          .series = {{"normal", tails.normal}, {"empirical", tails.empirical}}};
}

// By the processor time of an image's gradient, measured here; a training step takes as long as the gradient.
double NoiseTails::estimated_seconds() const {
  const int64_t batch = std::min<int64_t>(32, limit_ - 1);
  const Tensor weights = to(network_.initial_weights(nn::Initialization::fan_in_uniform, 0), device);
  smoothing::GradientNoise noise(losses(to(network_.initial_state(), device)), weights);
  std::clock_t start = 0;
  constexpr int64_t kTaken = 3;
  for (int64_t number = 0; number < 2 + kTaken; ++number) {  // the first two are not replayed
    if (number == 2) start = std::clock();
    noise.batch_gradient(batch, number);
  }
  const double of_image =
      static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC / static_cast<double>(batch * kTaken);
  const double of_draw =
      2e-8 * static_cast<double>(weights.size()) + 5e-7 * static_cast<double>(std::min(coordinates_, weights.size()));
  double images = static_cast<double>(epochs_ * limit_), draws = 0;
  for (const int64_t size : batches_) {
    images += static_cast<double>(stages_.size()) * static_cast<double>(limit_ + size * draws_);
    draws += static_cast<double>(static_cast<int64_t>(stages_.size()) * draws_);
  }
  return static_cast<double>(seeds_) * (images * of_image + draws * of_draw);
}

std::string NoiseTails::heading() const {
  return format(
      "Noise of minibatch gradients (Sato & Iiduka, arXiv 2311.08745).\n"
      "Scale {}, {} on {}: {} training images, SGD at learning rate {}, batch {}, {} epochs; {} seeds.\n"
      "{} batches of each size, drawn without replacement, less the gradient of all images; batch norm by the weights' "
      "own statistics.\n",
      scale, model_, data, limit_, rate_, train_batch_, epochs_, seeds_, draws_);
}

Report NoiseTails::run(Grid& grid, const std::filesystem::path& folder) {
  std::vector<Cell> cells;
  for (int64_t seed = 0; seed < seeds_; ++seed) {
    const std::string network = training_key(seed);
    cells.push_back({.key = network,
                     .run = [=, this](const auto& own) { return train(seed, own); },
                     .needs = {},
                     .keeps_folder = true});
    for (const int64_t stage : stages_)
      for (const int64_t batch : batches_)
        cells.push_back({.key = noise_key(stage, batch, seed),
                         .run = [=, this, file = grid.folder_of(network) / weights_file(stage)](
                                    const auto&) { return measure(file, batch, seed); },
                         .needs = {network}});
  }
  const std::vector<Results> found = grid.run("cells", cells);
  Findings findings{heading(), format("{} on {}, {} seeds", model_, data, seeds_), seeds_, stages_, batches_, {}};
  for (size_t i = 0; i < cells.size(); ++i) findings.results[cells[i].key] = found[i];
  write_csv(findings, folder / "results.csv");
  write_text(folder / "quantiles.svg", quantiles_picture(findings));
  write_text(folder / "tails.svg", tails_picture(findings));
  return report_of(findings);
}

}  // namespace

std::shared_ptr<Experiment> noise_tails() { return std::make_shared<NoiseTails>(); }

}  // namespace mollify::experiments
