// Implicit graduated optimisation (Sato & Iiduka, arXiv 2311.08745, and AAAI 2025, 2412.11501): courses of the
// smoothing δ = ηC/√b that SGD's noise is said to do, by smaller learning rates, larger batches or both, and by several
// decays of the rate; and SGD beside descent on the loss that is smoothed explicitly.
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/graduated_report.h>
#include <mollify/experiments/reproduce/sgd_and_descent.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <tuple>

namespace mollify::experiments {
namespace {

constexpr const char* kDescentModel = "cnn3_tiny";

class Graduated final : public Experiment {
 public:
  const char* name() const override { return "graduated"; }
  const char* summary() const override {
    return "SGD's own smoothing as graduated optimisation: rates, batches, decays (Sato & Iiduka 2023)";
  }
  std::vector<std::string> files() const override { return graduated_files(); }
  Options options() override;
  std::vector<std::string> datasets() const override { return {"mnist", "digits", "cifar10", "cifar100"}; }
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  TrainSettings settings(const GraduatedCourse& course, int64_t batch, int64_t seed) const;
  Results train(const GraduatedCourse& course, int64_t batch, int64_t seed, const std::filesystem::path& folder) const;
  Results descend(int64_t seed, const std::filesystem::path& folder) const;
  std::vector<Cell> cells() const;

  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, epochs_ = 0, batch_ = 0, published_batch_ = 0;
  int64_t descent_images_ = 0, descent_steps_ = 0, descent_batch_ = 0, descent_runs_ = 0, descent_draws_ = 8;
  double rate_ = 0.1;
  std::string model_, augment_;
  bool without_decays_ = false, without_descent_ = false;
  datasets::Splits images_;
};

Options Graduated::options() {
  Options all = shared_options("digits at tiny, cifar100 at paper, else cifar10");
  add(all,
      {{{"seeds", "Run", "networks of each kind", "3, 2 at tiny"}, &seeds_, at_least(1)},
       {{"without-decays", "Run", "leave out the decays of the rate", nullptr}, &without_decays_, {}},
       {{"without-descent", "Run", "leave out SGD beside descent on the smoothed loss", nullptr},
        &without_descent_,
        {}},
       {{"model", "Training", "network", "cnn3; resnet18 at paper; cnn3_tiny at tiny"},
        &model_,
        one_of(nn::model_names())},
       {{"limit", "Training", "training images", "tiny 200, quick 10000, paper 50000"}, &limit_, at_least(1)},
       {{"test-limit", "Training", "test images", "tiny 50, quick 5000, paper 10000"}, &test_limit_, at_least(1)},
       {{"epochs", "Training", "epochs, in five rounds of the methods", "tiny 5, quick 30, paper 200"},
        &epochs_,
        at_least(5)},
       {{"lr", "Training", "first learning rate", nullptr}, &rate_, above(0)},
       {{"batch", "Training", "first batch", "32, tiny 4"}, &batch_, at_least(1)},
       {{"published-batch", "Training", "first batch of the paper's methods whose batch stays as it is",
         "128, tiny 16"},
        &published_batch_,
        at_least(1)},
       {{"augment", "Training", "auto: random crops and flips of cifar10 and cifar100", "auto"},
        &augment_,
        one_of({"auto", "off"})},
       {{"descent-images", "Descent", "first training images, of whose loss descent is", "tiny 60, else 500"},
        &descent_images_,
        at_least(2)},
       {{"descent-steps", "Descent", "steps of SGD and of descent", "tiny 6, else 400"}, &descent_steps_, at_least(1)},
       {{"descent-batch", "Descent", "SGD's batch", "tiny 8, else 16"}, &descent_batch_, at_least(1)},
       {{"descent-runs", "Descent", "runs of SGD from the same weights", "tiny 2, else 8"},
        &descent_runs_,
        at_least(2)},
       {{"descent-draws", "Descent", "draws of the noise a step of descent on the smoothed loss, in antithetic pairs",
         nullptr},
        &descent_draws_,
        at_least(4)}});
  return all;
}

void Graduated::resolve() {
  if (data.empty()) data = is("tiny") ? "digits" : is("paper") ? "cifar100" : "cifar10";
  resolve_shared();
  if (model_.empty()) model_ = is("tiny") ? "cnn3_tiny" : is("paper") ? "resnet18" : "cnn3";
  if (augment_.empty()) augment_ = "auto";
  choose(seeds_, 2, 3, 3);
  choose(limit_, 200, 10000, 50000);
  choose(test_limit_, 50, 5000, 10000);
  choose(epochs_, 5, 30, 200);
  choose(batch_, 4, 32, 32);
  choose(published_batch_, 16, 128, 128);
  choose(descent_images_, 60, 500, 500);
  choose(descent_steps_, 6, 400, 400);
  choose(descent_batch_, 8, 16, 16);
  choose(descent_runs_, 2, 8, 8);
  for (const auto& [option, number, most] : {std::tuple{"batch", batch_, limit_},
                                             {"published-batch", published_batch_, limit_},
                                             {"descent-images", descent_images_, limit_},
                                             {"descent-batch", descent_batch_, descent_images_ - 1}})
    require<UsageError>(number <= most, "mollify reproduce {}: --{}: {} given; needs at most {}, of {} images", name(),
                        option, number, most, std::string(option) == "descent-batch" ? descent_images_ : limit_);
}

void Graduated::load() {
  images_ = load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()));
}

TrainSettings Graduated::settings(const GraduatedCourse& course, int64_t batch, int64_t seed) const {
  const std::string kind = course.course;
  TrainSettings::Texts texts{{"data", data},
                             {"data-dir", data_dir},
                             {"model", model_},
                             {"degree", kind},
                             {"batch-share", format("{}", course.batch_share)},
                             {"lr", format("{}", rate_)},
                             {"batch", std::to_string(batch)},
                             {"epochs", std::to_string(epochs_)},
                             {"limit", std::to_string(limit_)},
                             {"seed", std::to_string(seed)},
                             {"augment", augment_},
                             {"device", device_request.device},
                             {"checkpoint-minutes", format("{}", checkpoint_minutes)}};
  if (kind == "polynomial") texts["degree-power"] = format("{}", course.number);
  if (kind == "step" && course.number > 0) texts["degree-factor"] = format("{}", course.number);
  // The published 0.9 an epoch falls by 7e-10 in its 200 epochs: so here, too, in fewer.
  if (kind == "exponential")
    texts["degree-factor"] = format("{}", std::pow(course.number, 200.0 / static_cast<double>(epochs_)));
  TrainSettings settings(texts);
  settings.resolve();
  return settings;
}

Results Graduated::train(const GraduatedCourse& course, int64_t batch, int64_t seed,
                         const std::filesystem::path& folder) const {
  TrainSettings how = settings(course, batch, seed);
  Task task = make_task(how, {images_.train, images_.test});
  const nn::Network network = network_for(model_, images_.train);
  const datasets::Preparation plain = task.plain;
  Results results;
  const bool finite = trained_weights(std::move(how), std::move(task), folder).defined();
  results.numbers["diverged"] = finite ? 0 : 1;
  if (!finite) return results;
  for (const EpochMetrics& m : read_history(folder, epochs_).metrics) {
    results.series["updates"].push_back(static_cast<double>(m.steps));
    results.series["samples"].push_back(static_cast<double>(m.course->samples));
    results.series["batch"].push_back(static_cast<double>(m.course->batch));
    results.series["rate"].push_back(m.learning_rate);
    results.series["degree"].push_back(m.course->degree);
    results.series["train_loss"].push_back(m.train.loss);
    results.series["test_loss"].push_back(m.test.loss);
    results.series["test_accuracy"].push_back(100 * m.test.accuracy);
  }
  const nn::Loaded last = nn::load(folder / "model.safetensors", network);
  const auto train = evaluate(outputs_of(network, to(last.weights, device), to(last.state, device)), device,
                              images_.train, plain, nn::mean_cross_entropy, 0, interrupted);
  if (!train) stop_if_interrupted();
  results.numbers["train_loss"] = train->loss;
  results.numbers["train_accuracy"] = 100 * train->accuracy();
  results.numbers["test_accuracy"] = results.series["test_accuracy"].back();
  results.numbers["updates"] = results.series["updates"].back();
  return results;
}

Results Graduated::descend(int64_t seed, const std::filesystem::path& folder) const {
  const datasets::Dataset first = datasets::take(images_.train, 0, descent_images_);
  const nn::Network network = network_for(kDescentModel, first);
  return sgd_and_descent({.network = network,
                          .images = prepare(first, plain_preparation(data), device),
                          .rate = rate_,
                          .batch = descent_batch_,
                          .steps = descent_steps_,
                          .runs = descent_runs_,
                          .draws = descent_draws_,
                          .multiples = {std::begin(kDescentMultiples), std::end(kDescentMultiples)},
                          .seed = static_cast<uint64_t>(seed)},
                         {folder, checkpoint_minutes});
}

// The longest first.
std::vector<Cell> Graduated::cells() const {
  std::vector<Cell> all;
  const auto add_training = [&](const GraduatedCourse& course, int64_t batch) {
    for (int64_t seed = 0; seed < seeds_; ++seed)
      all.push_back({graduated_key(course.name, batch, seed),
                     [=, this, &course](const auto& own) { return train(course, batch, seed, own); }});
  };
  for (int64_t seed = 0; seed < seeds_ && !without_descent_; ++seed)
    all.push_back({descent_key(seed), [=, this](const auto& own) { return descend(seed, own); }});
  for (const int64_t batch : std::set<int64_t>{batch_, published_batch_})
    for (const GraduatedCourse& method : graduated_methods()) add_training(method, batch);
  if (!without_decays_)
    for (const GraduatedCourse& decay : graduated_decays()) add_training(decay, batch_);
  return all;
}

Report Graduated::run(Grid& grid, const std::filesystem::path& folder) {
  const std::vector<Cell> all = cells();
  const std::vector<Results> found = grid.run("trainings", all);
  GraduatedFindings findings{
      format("Implicit graduated optimisation (Sato & Iiduka 2023, arXiv 2311.08745; decays: 2412.11501).\n"
             "Scale {}, {} on {}: {} training images{}, {} test images; SGD without momentum and weight decay, first "
             "learning rate {}, {} epochs, a change every {}, {} gradients of images in each training; {} seeds.\n",
             scale, model_, data, limit_,
             augment_ == "off" || (data != "cifar10" && data != "cifar100") ? "" : " with random crops and flips",
             test_limit_, rate_, epochs_, std::max<int64_t>(1, epochs_ / 5), epochs_ * limit_, seeds_),
      format("{} on {}, {} seeds", model_, data, seeds_),
      without_descent_
          ? ""
          : format("SGD beside descent on the loss f of {} images of {} and on f smoothed by SGD's own degree ({}, "
                   "learning rate {}, batch {}, {} steps, {} runs of SGD from each of {} initial weights, {} draws "
                   "of the noise a step).\n",
                   descent_images_, data, kDescentModel, rate_, descent_batch_, descent_steps_, descent_runs_, seeds_,
                   descent_draws_),
      seeds_,
      batch_,
      published_batch_,
      epochs_,
      {}};
  for (size_t i = 0; i < all.size(); ++i) findings.results[all[i].key] = found[i];
  write_files(findings, folder);
  return report_of(findings);
}

}  // namespace

std::shared_ptr<Experiment> graduated() { return std::make_shared<Graduated>(); }

}  // namespace mollify::experiments
