// HeatSmoothing (Campbell, Finlay & Oberman 2020, arXiv 2006.06061): networks that are averages of another over
// Gaussian noise, in one pass, beside networks that are trained for noise and answer by votes. Distances to the average
// that they stand for, what votes certify of them, radii that they would have if they were exact averages, and how far
// attacks go.
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/heat_measures.h>
#include <mollify/experiments/reproduce/heat_report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/nn/formats/npy.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/moments.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mollify::experiments {
namespace {

// Files of the baseline's folder.
constexpr const char *kWeights = "model.safetensors", *kAverage = "average.npy";

class HeatSmoothing final : public Experiment {
 public:
  const char* name() const override { return "heat"; }
  const char* summary() const override {
    return "Networks that are Gaussian averages of others in one pass (Campbell et al. 2020)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "timings.csv", "curves.csv", "curves.svg"}; }
  Options options() override;
  std::vector<std::string> datasets() const override { return {"mnist", "digits", "cifar10", "folder"}; }
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  TrainSettings settings(const HeatMethod& method, int64_t seed, const std::filesystem::path& baseline) const;
  nn::Loaded trained(const HeatMethod& method, int64_t seed, const std::filesystem::path& baseline,
                     const std::filesystem::path& folder, double& seconds) const;
  Results cell(const HeatMethod& method, int64_t seed, const std::filesystem::path& baseline,
               const std::filesystem::path& folder) const;
  Results moments(const std::filesystem::path& baseline) const;
  Tensor average_of(const std::filesystem::path& baseline) const;
  HeatMeasuring measuring(bool stochastic) const;
  std::string heading() const;

  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, epochs_ = 0, rounds_ = 5, trials_ = 0, draws_ = 25, average_ = 0,
          attack_steps_ = 0, repeats_ = 10, image_size_ = 0, top_ = 0;
  double noise_ = 0, rate_ = 0, attack_epsilon_ = 4, l2_epsilon_ = 0;
  std::string model_, student_;
  datasets::Splits images_;
  nn::Network network_ = nn::make("linear", {1, 1, 1}, 2);
  datasets::Preparation preparation_;
  Tensor pixels_, labels_;
};

Options HeatSmoothing::options() {
  Options all = shared_options();
  add(all, {{{"seeds", "Run", "networks of each kind", "3, 1 at tiny"}, &seeds_, at_least(1)},
            {{"image-size", "Run", "height and width to which the images of a folder are brought",
              "64 for TinyImageNet's layout, else 224"},
             &image_size_,
             Rule{.low = 1, .high = 4096}},
            {{"model", "Training", "network",
              "cnn3; heat_resnet34 at paper; cnn3_tiny at tiny; folder resnet18, resnet50 at paper"},
             &model_,
             one_of(nn::model_names())},
            {{"noise", "Training", "standard deviation of the noise, of pixels from 0 to 1", "0.25; 0.1 for cifar10"},
             &noise_,
             above(0)},
            {{"limit", "Training", "training images", "tiny 200, quick 6000, paper all"}, &limit_, at_least(1)},
            {{"test-limit", "Measures", "test images", "tiny 20, quick 500, paper 1000"}, &test_limit_, at_least(1)},
            {{"epochs", "Training", "epochs, of HeatSmoothing in each of its rounds", "tiny 1, quick 20, paper 200"},
             &epochs_,
             at_least(1)},
            {{"rounds", "Training", "HeatSmoothing's time steps", nullptr}, &rounds_, at_least(1)},
            {{"repeats", "Training", "its projections a step", nullptr}, &repeats_, at_least(1)},
            {{"student", "Training", "how its rounds start: from initial weights, or from their teacher's",
              "fresh at paper, else warm"},
             &student_,
             one_of({"fresh", "warm"})},
            {{"lr", "Training", "Adam's learning rate; at paper SGD's", "0.002, paper 0.1"}, &rate_, above(0)},
            {{"l2-eps", "Training", "radius of SmoothAdv's attacks", "1, cifar10 0.25"}, &l2_epsilon_, above(0)},
            {{"top", "Measures",
              "k: an answer is right where the label is among its k most likely classes, as in certificates, radii and "
              "attacks",
              "folder 5, else 1"},
             &top_,
             at_least(1)},
            {{"n", "Measures", "votes that count", "tiny 100, quick 1000, paper 10000"}, &trials_, at_least(1)},
            {{"average", "Measures", "draws of the average that networks are compared with", "tiny 20, else 1000"},
             &average_,
             at_least(1)},
            {{"draws", "Measures", "draws of noise that attacks go through", nullptr}, &draws_, at_least(1)},
            {{"attack-steps", "Measures", "steps of PGD and DDN", "tiny 5, quick 40, paper 100"},
             &attack_steps_,
             at_least(1)},
            {{"attack-eps", "Measures", "l2 radius of PGD", nullptr}, &attack_epsilon_, above(0)}});
  return all;
}

void HeatSmoothing::resolve() {
  if (data.empty() && is("paper")) data = "cifar10";
  resolve_shared();
  const bool colour = data == "cifar10";
  const bool folder = data == "folder";
  require<UsageError>(folder || image_size_ == 0,
                      "mollify reproduce {}: --image-size: {} given with {}; needs --data "
                      "folder",
                      name(), image_size_, data);
  if (model_.empty())
    model_ = is("tiny")    ? "cnn3_tiny"
             : is("paper") ? (folder ? "resnet50" : "heat_resnet34")
                           : (folder ? "resnet18" : "cnn3");
  if (student_.empty()) student_ = is("paper") ? "fresh" : "warm";
  choose(seeds_, 1, 3, 3);
  choose(limit_, 200, 6000, folder ? 0 : colour ? 50000 : 60000);  // 0: all
  if (top_ == 0) top_ = folder ? 5 : 1;
  choose(test_limit_, 20, 500, 1000);
  choose(epochs_, 1, 20, 200);
  choose(trials_, 100, 1000, 10000);
  choose(average_, 20, 1000, 1000);
  choose(attack_steps_, 5, 40, 100);
  if (noise_ == 0) noise_ = colour ? 0.1 : 0.25;
  if (rate_ == 0) rate_ = is("paper") ? 0.1 : 0.002;
  if (l2_epsilon_ == 0) l2_epsilon_ = colour ? 0.25 : 1;
}

void HeatSmoothing::load() {
  images_ =
      load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()), image_size_);
  require<UsageError>(top_ < images_.test.classes,
                      "mollify reproduce {}: --top: {} given; needs fewer than the {} "
                      "classes",
                      name(), top_, images_.test.classes);
  network_ = network_for(model_, images_.test);
  preparation_ = plain_preparation(data);
  std::vector<int32_t> all(static_cast<size_t>(test_limit_));
  std::iota(all.begin(), all.end(), 0);
  const datasets::Batch batch = datasets::make_batch(images_.test, all);
  pixels_ = to(batch.images, device);
  labels_ = to(batch.labels, device);
}

TrainSettings HeatSmoothing::settings(const HeatMethod& method, int64_t seed,
                                      const std::filesystem::path& baseline) const {
  TrainSettings::Texts texts{{"data", data},
                             {"data-dir", data_dir},
                             {"model", model_},
                             {"objective", method.objective},
                             {"epochs", std::to_string(epochs_)},
                             {"seed", std::to_string(seed)},
                             {"lr", format("{}", rate_)},
                             {"batch", is("paper") ? "100" : "64"},
                             {"device", device_request.device},
                             {"checkpoint-minutes", format("{}", checkpoint_minutes)}};
  if (!is("paper")) texts.insert({{"optimizer", "adam"}, {"schedule", "cosine"}, {"augment", "off"}});
  const std::string noise = format("{}", noise_);
  if (method.objective != std::string("natural")) texts["noise"] = noise;
  if (method.objective == std::string("smoothadv")) {
    texts.insert({{"l2-eps", format("{}", l2_epsilon_)},
                  {"smoothadv-warmup", std::to_string(std::max<int64_t>(1, epochs_ / 4))}});
    if (method.name == std::string("smoothadv-noiseless")) texts["smoothadv-without-noise"] = "true";
  }
  if (method.lambda > 0)
    texts.insert({{"heat-lambda", format("{}", method.lambda)},
                  {"heat-rounds", std::to_string(rounds_)},
                  {"heat-repeats", std::to_string(repeats_)},
                  {"heat-student", student_},
                  {"teacher", (baseline / kWeights).string()}});
  return TrainSettings(texts);
}

// The network that the method ends with, from rounds in folders of their own.
nn::Loaded HeatSmoothing::trained(const HeatMethod& method, int64_t seed, const std::filesystem::path& baseline,
                                  const std::filesystem::path& folder, double& seconds) const {
  TrainSettings all = settings(method, seed, baseline);
  all.resolve();
  const int64_t rounds = all.objective().rounds();
  std::string last;
  for (int64_t round = 1; round <= rounds; ++round) {
    const std::filesystem::path own = rounds == 1 ? folder : folder / format("round-{}", round);
    std::filesystem::create_directories(own);
    TrainSettings how = settings(method, seed, baseline);
    for (const auto& [name, text] : all.objective().round_options(last)) set(*find(how.options(), name), text);
    how.resolve();
    Task task = make_task(how, {images_.train, images_.test});
    if (!trained_weights(std::move(how), std::move(task), own).defined()) return {};
    for (const EpochTimings& epoch : read_history(own, epochs_).timings) seconds += epoch.training_seconds;
    last = (own / kWeights).string();
  }
  return nn::load(last, network_);
}

HeatMeasuring HeatSmoothing::measuring(bool stochastic) const {
  return {.noise = noise_,
          .trials = trials_,
          .draws = draws_,
          .top = top_,
          .attack_steps = attack_steps_,
          .attack_epsilon = attack_epsilon_,
          .stochastic = stochastic};
}

// The baseline's own cell keeps its average, which the others are compared with.
Results HeatSmoothing::cell(const HeatMethod& method, int64_t seed, const std::filesystem::path& baseline,
                            const std::filesystem::path& folder) const {
  Results results;
  double seconds = 0;
  const nn::Loaded loaded = trained(method, seed, baseline, folder, seconds);
  results.numbers = {{"diverged", loaded.weights.defined() ? 0 : 1}, {"seconds", seconds}};
  if (!loaded.weights.defined()) return results;
  const smoothing::Function f =
      pixel_function(network_, to(loaded.weights, device), to(loaded.state, device), preparation_);
  measure(f, pixels_, labels_, measuring(method.stochastic), results);
  if (folder == baseline)
    nn::formats::write_npy(folder / kAverage, to(average_over_noise(f, pixels_, noise_, average_), Device::cpu));
  const NoGrad quiet;
  results.numbers["distance"] = relative_distance(f(pixels_), average_of(baseline));
  return results;
}

Tensor HeatSmoothing::average_of(const std::filesystem::path& baseline) const {
  return to(nn::formats::read_npy(baseline / kAverage), device);
}

Results HeatSmoothing::moments(const std::filesystem::path& baseline) const {
  const NoGrad quiet;
  const nn::Loaded loaded = nn::load(baseline / kWeights, network_);
  const Tensor weights = to(loaded.weights, device), state = to(loaded.state, device);
  const PixelRange range(preparation_, device);
  const Tensor x = pixels_ * range.unit + range.low;
  std::vector<Tensor> parts;
  const double unit = mean(range.unit).item();  // one scale for all channels
  for (int64_t first = 0; first < x.dim(0); first += 20) {
    stop_if_interrupted();
    parts.push_back(smoothing::propagate_moments(network_, weights, state,
                                                 slice(x, 0, first, std::min(first + 20, x.dim(0))),
                                                 {.input = smoothing::Sigma::stddev(noise_ * unit)})
                        .mean);
  }
  const Tensor means = concat(parts, 0);
  return {.numbers = {{"diverged", 0},
                      {"natural", share_in_top(means, labels_, 1)},
                      {"in_top", share_in_top(means, labels_, top_)},
                      {"distance", relative_distance(means, average_of(baseline))}}};
}

std::string HeatSmoothing::heading() const {
  return format(
      "HeatSmoothing (Campbell, Finlay & Oberman 2020, arXiv 2006.06061).\n"
      "Scale {}, {} on {}: {} training images, {} test images; noise {} of pixels from 0 to 1; {} epochs, "
      "HeatSmoothing {} rounds of them with {} students, {} Gaussian projections; {} votes at "
      "alpha 0.001; attacks of {} steps, through {} draws where answers are votes; {} seeds.\n",
      scale, model_, data, images_.train.size(), test_limit_, noise_, epochs_, rounds_, student_, repeats_, trials_,
      attack_steps_, draws_, seeds_);
}

Report HeatSmoothing::run(Grid& grid, const std::filesystem::path& folder) {
  std::vector<Cell> cells;
  for (int64_t seed = 0; seed < seeds_; ++seed) {
    const std::string first = heat_key("baseline", seed);
    const std::filesystem::path baseline = grid.folder_of(first);
    for (const HeatMethod& method : heat_methods()) {
      const bool own = method.name == std::string("baseline");
      cells.push_back({.key = heat_key(method.name, seed),
                       .run = [=, this, &method](const auto& in) { return cell(method, seed, baseline, in); },
                       .needs = own ? std::vector<std::string>{} : std::vector<std::string>{first},
                       .keeps_folder = own});
    }
    cells.push_back({.key = heat_key(kHeatMoments, seed),
                     .run = [=, this](const auto&) { return moments(baseline); },
                     .needs = {first}});
  }
  const std::vector<Results> found = grid.run("networks", cells);
  HeatFindings findings{heading(), format("HeatSmoothing: {} on {}, noise {}, {} seeds", model_, data, noise_, seeds_),
                        seeds_,    rounds_,
                        repeats_,  trials_,
                        top_,      noise_,
                        {}};
  for (size_t i = 0; i < cells.size(); ++i) findings.results[cells[i].key] = found[i];
  write_csv(findings, folder);
  write_text(folder / "curves.svg", picture(findings));
  return report_of(findings);
}

}  // namespace

std::shared_ptr<Experiment> heat() { return std::make_shared<HeatSmoothing>(); }

}  // namespace mollify::experiments
