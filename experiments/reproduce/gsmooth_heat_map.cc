// Test accuracy of GSmoothSGD and GSmoothAdam (Starnes & Webster, arXiv 2311.00531, figures 1 to 4) for training data
// with noise on the inputs and random labels, by σ. Tuned settings give every method the learning rate that a search on
// one grid finds for it, and stop training by images held out from it. Published ones are those of the authors' code:
// the mean over the outputs as the loss, one learning rate, Xavier weights, penalties by σ, Adam's ε 1e-7, training
// stopped by the test images, and the last epoch's weights tested.
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/heat_map.h>
#include <mollify/experiments/reproduce/image_table.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/training/task.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/smooth.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

struct Method {
  std::string optimizer;
  double sigma;  // as in the paper
};

struct Noise { double inputs, labels; };  // standard deviation, share

// One training. Those of the learning rates' search are not tested.
struct Training {
  Method method;
  double rate;
  Noise noise;
  int64_t seed, epochs;
  bool tuning;

  std::string key() const {
    return format("{} {} sigma={} rate={} inputs={} labels={} seed={}", tuning ? "rate" : "cell", method.optimizer,
                  method.sigma, rate, noise.inputs, noise.labels, seed);
  }
};

struct Finished {
  Training training;
  Results results;
};

using Penalties = std::map<std::string, double>;
Penalties penalties(double first_dense) {
  return {{"activation1", 1e-7}, {"dense1", first_dense}, {"activation2", 1e-5}, {"dense2", 1e-5}};
}
constexpr const char* kAccuracy = "test_accuracy";
const char* const kColumns[] = {
    kAccuracy, "plain_test_accuracy", "validation_loss", "validation_accuracy", "best_epoch", "epochs", "diverged"};

class GSmoothHeatMap final : public Experiment {
 public:
  const char* name() const override { return "gsmooth-heatmap"; }
  const char* summary() const override {
    return "GSmoothSGD and GSmoothAdam under input and label noise, by sigma (Starnes & Webster 2023)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "table.txt", "heatmap.svg", "noise.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  std::string run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  Results train(const Training& training) const;
  bool published() const { return settings_ == "published"; }
  std::vector<Finished> finish(Grid& grid, const std::string& title, const std::vector<Training>& trainings) const;
  std::vector<Training> searches() const;
  std::vector<Training> cells(const std::vector<Finished>& searched) const;
  double rate_of(const Method& method, const std::vector<Finished>& searched) const;
  const std::vector<double>& rates(const std::string& optimizer) const {
    return optimizer == "sgd" ? sgd_rates_ : adam_rates_;
  }
  const std::optional<double>& fixed_rate(const std::string& optimizer) const {
    return optimizer == "sgd" ? lr_sgd_ : lr_adam_;
  }
  std::vector<Method> methods() const;
  bool quoted(const Method& method, const Noise& noise) const;

  std::string settings_text() const;
  std::string rates_text(const std::vector<Finished>& searched) const;
  std::string noise_picture() const;
  HeatMap heat_map(const std::vector<Finished>& finished) const;
  std::string quoted_text(const std::vector<Finished>& finished) const;
  Summary summary(const std::vector<Finished>& finished, const Method& method, const Noise& noise,
                  const char* number = kAccuracy) const;

  int64_t limit_ = 0, validation_ = 0, test_limit_ = 0, epochs_ = 0, tuning_epochs_ = 0, patience_ = 2, batch_ = 16,
          seeds_ = 0, grid_seeds_ = 1;
  std::optional<double> lr_sgd_, lr_adam_;
  std::string settings_ = "tuned";

  std::vector<double> inputs_ = {0, 0.25, 0.5, 0.75, 1}, labels_ = {0, 0.1, 0.2, 0.3, 0.4},
                      sigmas_ = {0, 0.01, 0.1, 0.5, 1};
  std::vector<double> sgd_rates_ = {0.3, 0.1, 0.03, 0.01, 0.003}, adam_rates_ = {3e-3, 1e-3, 3e-4, 1e-4};
  datasets::Dataset train_;  // training images, then those for validation
  Images test_;
  std::optional<nn::Network> network_;
};

Options GSmoothHeatMap::options() {
  Options all = shared_options();
  add(all,
      {
          {{"seeds", "Run", "seeds of the quoted cells: the corners of the noise, for SGD", "3, 1 at tiny"},
           &seeds_,
           at_least(1)},
          {{"grid-seeds", "Run", "seeds of the other cells", nullptr}, &grid_seeds_, at_least(1)},
          {{"limit", "Training", "training images", "tiny 300, quick 6000, paper nine tenths of all"},
           &limit_,
           at_least(1)},
          {{"validation", "Training", "images held out from training, with the same noise",
            "tiny 100, quick 1000, paper the last tenth"},
           &validation_,
           at_least(1)},
          {{"test-limit", "Training", "test images", "tiny 200, quick 5000, paper all"}, &test_limit_, at_least(1)},
          {{"epochs", "Training", "epochs at most", "tiny 2, quick 8, paper 20"}, &epochs_, at_least(1)},
          {{"patience", "Training", "stop after N epochs without a lower validation loss", nullptr},
           &patience_,
           at_least(1)},
          {{"batch", "Training", "images in a batch", nullptr}, &batch_, at_least(1)},
          {{"settings", "Training", "tuned, or published: those of the authors' code", nullptr},
           &settings_,
           one_of({"tuned", "published"})},
          {{"lr-sgd", "Training", "learning rate of SGD for every sigma", "searched, by sigma; published 0.1"},
           &lr_sgd_,
           above(0)},
          {{"lr-adam", "Training", "learning rate of Adam for every sigma", "searched, by sigma; published 0.01"},
           &lr_adam_,
           above(0)},
          {{"tuning-epochs", "Training", "epochs of the learning rates' search", "tiny 1, quick 2, paper 3"},
           &tuning_epochs_,
           at_least(1)},
      });
  return all;
}

void GSmoothHeatMap::resolve() {
  resolve_shared();
  if (published()) {
    if (!lr_sgd_) lr_sgd_ = 0.1;
    if (!lr_adam_) lr_adam_ = 0.01;
    if (validation_ > 0)
      throw UsageError(format("mollify reproduce {}: --validation given; published settings hold nothing out", name()));
  }
  const int64_t all = data == "cifar10" ? 50000 : 60000;
  choose(limit_, 300, 6000, published() ? all : all / 10 * 9);
  if (!published()) choose(validation_, 100, 1000, all / 10);
  choose(test_limit_, 200, 5000, 10000);
  choose(epochs_, 2, 8, 20);
  choose(tuning_epochs_, 1, 2, 3);
  choose(seeds_, 1, 3, 3);
}

void GSmoothHeatMap::load() {
  if (is("tiny")) {
    inputs_ = {0, 1};
    labels_ = {0, 0.4};
    sigmas_ = {0, 0.1};
    sgd_rates_ = {0.03, 0.01};
    adam_rates_ = {1e-3};
  }
  datasets::Splits images =
      load_images(data, data_dir, limit_ + validation_, test_limit_, format("mollify reproduce {}: --limit", name()));
  train_ = std::move(images.train);
  test_ = prepare(images.test, plain_preparation(data), device);
  network_ = network_for("cnn", train_);
}

std::vector<Method> GSmoothHeatMap::methods() const {
  std::vector<Method> all;
  for (const char* optimizer : {"sgd", "adam"})
    for (double sigma : sigmas_) all.push_back({optimizer, sigma});
  return all;
}

bool GSmoothHeatMap::quoted(const Method& method, const Noise& noise) const {
  const auto extreme = [](double value, const std::vector<double>& all) {
    return value == all.front() || value == all.back();
  };
  return method.optimizer == "sgd" && method.sigma != 0.5 && extreme(noise.inputs, inputs_) &&
         extreme(noise.labels, labels_);
}

Results GSmoothHeatMap::train(const Training& how) const {
  const uint64_t seed = static_cast<uint64_t>(how.seed);
  datasets::Preparation preparation = plain_preparation(data);
  preparation.noise = {.input_deviation = how.noise.inputs, .label_share = how.noise.labels, .seed = seed};
  const Images all = prepare(train_, preparation, device), training = range(all, 0, limit_);
  const Images validation = published() ? test_ : range(all, limit_, validation_);

  const smoothing::Sigma sigma = smoothing::Sigma::paper(how.method.sigma);
  const Penalties weights_of = penalties(published() && how.method.sigma == 0.01 ? 1e-5 : 1e-7);
  const smoothing::SmoothedNetwork smoothed =
      smooth(*network_, sigma, {.by_layer = weights_of, .form = smoothing::Form::split});
  const bool plain = how.method.sigma == 0;
  const Model plain_model = [&](const Tensor& weights, const Tensor& images) { return (*network_)(weights, images); };
  const Model model = plain ? plain_model : [&](const Tensor& weights, const Tensor& images) {
    return smoothed(weights, images).output;
  };
  const optim::Schedule rate = optim::constant(how.rate);
  smoothing::GSmooth optimizer(
      how.method.optimizer == "sgd" ? optim::sgd(rate) : optim::adam(rate, {.epsilon = published() ? 1e-7 : 1e-8}),
      sigma);

  const nn::Initialization initialization =
      published() ? nn::Initialization::xavier_uniform : nn::Initialization::fan_in_uniform;
  const Tensor weights = to(network_->initial_weights(initialization, seed), device);
  const double share = published() ? 1.0 / static_cast<double>(network_->output().size())
                                   : 1;  // the mean over the outputs, or their sum
  Tensor best = copy_of(weights);
  double best_loss = INFINITY, best_accuracy = NAN;
  int64_t best_epoch = 0, epoch = 0;
  bool finite = true;
  while (finite && epoch < how.epochs && epoch - best_epoch < patience_) {
    const std::vector<int32_t> order = datasets::epoch_order(limit_, seed, epoch);
    for (int64_t first = 0; finite && first < limit_; first += batch_) {
      stop_if_interrupted();
      const Images batch = chosen(training, std::span(order).subspan(first, std::min(batch_, limit_ - first)));
      const auto loss = [&](const Tensor& w, const smoothing::Sigma& s) {
        if (plain) return nn::mean_squared_error(plain_model(w, batch.images), batch.labels) * share;
        return smoothed_squared_error(smoothed(w, {}, batch.images, s), batch.labels, share);
      };
      finite = std::isfinite(optimizer.step(weights, loss).item());
    }
    ++epoch;
    const Score score = score_of(model, weights, validation);
    finite = finite && std::isfinite(score.loss);
    if (!(score.loss < best_loss)) continue;
    best_loss = score.loss;
    best_accuracy = score.accuracy;
    best_epoch = epoch;
    assign(best, weights);
  }
  Results results{.numbers = {{"validation_loss", best_epoch > 0 ? best_loss : NAN},
                              {"validation_accuracy", best_accuracy},
                              {"best_epoch", static_cast<double>(best_epoch)},
                              {"epochs", static_cast<double>(epoch)},
                              {"diverged", !finite}}};
  if (how.tuning) return results;
  const Tensor& trained =
      best_epoch > 0 && !published() ? best : weights;  // diverged at once: what is left, which guesses
  results.numbers[kAccuracy] = score_of(model, trained, test_).accuracy;
  results.numbers["plain_test_accuracy"] =
      plain ? results.numbers[kAccuracy] : score_of(plain_model, trained, test_).accuracy;
  return results;
}

std::vector<Finished> GSmoothHeatMap::finish(Grid& grid, const std::string& title,
                                             const std::vector<Training>& trainings) const {
  std::vector<Cell> cells;
  for (const Training& training : trainings)
    cells.push_back({training.key(), [this, training] { return train(training); }});
  const std::vector<Results> results = grid.run(title, cells);
  std::vector<Finished> finished;
  for (size_t i = 0; i < trainings.size(); ++i) finished.push_back({trainings[i], results[i]});
  return finished;
}

std::vector<Training> GSmoothHeatMap::searches() const {
  std::vector<Training> all;
  for (const Method& method : methods())
    if (!fixed_rate(method.optimizer))
      for (double rate : rates(method.optimizer)) all.push_back({method, rate, {0, 0}, 0, tuning_epochs_, true});
  return all;
}

// The lowest validation loss decides; the smallest rate where all diverge.
double GSmoothHeatMap::rate_of(const Method& method, const std::vector<Finished>& searched) const {
  if (const auto& fixed = fixed_rate(method.optimizer)) return *fixed;
  double best = INFINITY, rate = rates(method.optimizer).back();
  for (const Finished& f : searched) {
    const double loss = f.results.at("validation_loss");
    const bool same = f.training.method.optimizer == method.optimizer && f.training.method.sigma == method.sigma;
    if (!same || f.results.at("diverged") != 0 || !(loss < best)) continue;
    best = loss;
    rate = f.training.rate;
  }
  return rate;
}

std::vector<Training> GSmoothHeatMap::cells(const std::vector<Finished>& searched) const {
  std::vector<Training> all;
  for (const Method& method : methods()) {
    const double rate = rate_of(method, searched);
    for (double inputs : inputs_)
      for (double labels : labels_) {
        const Noise noise{inputs, labels};
        const int64_t seeds = quoted(method, noise) ? std::max(seeds_, grid_seeds_) : grid_seeds_;
        for (int64_t seed = 0; seed < seeds; ++seed) all.push_back({method, rate, noise, seed, epochs_, false});
      }
  }
  return all;
}

Summary GSmoothHeatMap::summary(const std::vector<Finished>& finished, const Method& method, const Noise& noise,
                                const char* number) const {
  std::vector<double> numbers;
  for (const auto& [t, results] : finished)
    if (t.method.optimizer == method.optimizer && t.method.sigma == method.sigma && t.noise.inputs == noise.inputs &&
        t.noise.labels == noise.labels)
      numbers.push_back(100 * results.at(number));
  return summary_of(numbers);
}

std::string GSmoothHeatMap::settings_text() const {
  const std::string images =
      published() ? format("{} training and {} clean test images, which also stop the training", limit_, test_.count())
                  : format("{} training, {} validation, {} clean test images", limit_, validation_, test_.count());
  return format(
             "Starnes & Webster, arXiv 2311.00531: GSmoothSGD and GSmoothAdam under noise.\n"
             "Scale {}, {}, {} settings: {}.\n",
             scale, data, settings_, images) +
         format(
             "Table 3 network ({} weights, {} uniform, the same initial ones throughout for a seed), linear output, "
             "squared error on one-hot\n"
             "labels, {} over the outputs; batch {}, at most {} epochs, patience {} on the validation loss{}.\n",
             network_->weight_count(), published() ? "Xavier" : "fan-in", published() ? "the mean" : "the sum", batch_,
             epochs_, patience_,
             published() ? "; weights of the last epoch" : " (same noise as training); weights of the best epoch") +
         format(
             "SGD without momentum, Adam (0.9, 0.999, {}), neither with weight decay. sigma as in the paper: noise of "
             "standard deviation sigma/sqrt(2).\n",
             published() ? "1e-7" : "1e-8") +
         format(
             "Smoothed network in the split form, penalty weights 1e-7, 1e-7{} (first ReLU, first dense), 1e-5, 1e-5 "
             "(second ReLU, output); sigma 0 is the\n"
             "plain network. Tested is the network that was trained: the smoothed one where sigma > 0.\n",
             published() ? ", at sigma 0.01 1e-5" : "") +
         format("Seeds: {} for the quoted cells, {} for the others.\n", std::max(seeds_, grid_seeds_), grid_seeds_);
}

std::string GSmoothHeatMap::rates_text(const std::vector<Finished>& searched) const {
  std::string out;
  for (const char* optimizer : {"sgd", "adam"}) {
    if (const auto& fixed = fixed_rate(optimizer)) {
      out += format("\nLearning rate of {}: {}, as given.\n", optimizer, *fixed);
      continue;
    }
    out +=
        format("\nLearning rates of {}: validation loss after {} epochs on clean data, seed 0; the lowest is taken.\n",
               optimizer, tuning_epochs_);
    std::vector<std::string> heading = {"sigma"};
    for (double rate : rates(optimizer)) heading.push_back(format("{}", rate));
    heading.push_back("taken");
    TextTable table(heading);
    for (double sigma : sigmas_) {
      std::vector<std::string> row = {format("{}", sigma)};
      for (const auto& [t, results] : searched)
        if (t.method.optimizer == optimizer && t.method.sigma == sigma)
          row.push_back(results.at("diverged") == 0 ? number_text(results.at("validation_loss"), "%.4f") : "diverged");
      row.push_back(format("{}", rate_of({optimizer, sigma}, searched)));
      table.add(row);
    }
    out += table.text();
  }
  return out;
}

HeatMap GSmoothHeatMap::heat_map(const std::vector<Finished>& finished) const {
  HeatMap map;
  map.heading = format("Test accuracy on {} after training with noise, by optimizer and σ", data);
  map.rows_title = "standard deviation of input noise";
  map.columns_title = "share of random labels";
  map.values_title = "accuracy %";
  map.panels_in_line = sigmas_.size();
  for (double inputs : inputs_) map.row_names.push_back(format("{}", inputs));
  for (double labels : labels_) map.column_names.push_back(format("{} %", std::lround(100 * labels)));
  for (const Method& method : methods()) {
    const std::string base = method.optimizer == "sgd" ? "SGD" : "Adam";
    HeatMap::Panel panel{method.sigma == 0 ? base + " (σ = 0)" : format("GSmooth{}, σ = {}", base, method.sigma), {}};
    for (double inputs : inputs_) {
      panel.values.emplace_back();
      for (double labels : labels_) panel.values.back().push_back(summary(finished, method, {inputs, labels}).mean);
    }
    map.panels.push_back(panel);
  }
  return map;
}

// The first training images with each noise on the inputs.
std::string GSmoothHeatMap::noise_picture() const {
  ImageTable table{format("Training images of {} by the standard deviation of the noise on them", data), {}, {}};
  const int64_t count = std::min<int64_t>(3, train_.size());
  table.rows.resize(static_cast<size_t>(count));
  for (double inputs : inputs_) {
    table.column_names.push_back(format("{}", inputs));
    datasets::Preparation preparation;
    preparation.noise = {.input_deviation = inputs, .label_share = 0, .seed = 0};
    const Images noisy = prepare(datasets::take(train_, 0, count), preparation);
    for (int64_t i = 0; i < count; ++i) table.rows[static_cast<size_t>(i)].push_back(range(noisy, i, 1).images);
  }
  return image_table_svg(table);
}

std::string GSmoothHeatMap::quoted_text(const std::vector<Finished>& finished) const {
  const struct { const char* name; Noise noise; } corners[] = {{"clean", {0, 0}},
                                                               {"worst labels", {0, labels_.back()}},
                                                               {"worst inputs", {inputs_.back(), 0}},
                                                               {"both worst", {inputs_.back(), labels_.back()}}};
  std::vector<std::string> heading = {""};
  for (double sigma : sigmas_)
    if (quoted({"sgd", sigma}, {0, 0})) heading.push_back(format("sigma {}", sigma));
  TextTable accuracies(heading), plain(heading), claims({"", "claim", "difference and its standard error", ""});
  for (const auto& [name, noise] : corners) {
    const auto of = [&, noise = noise](double sigma) { return summary(finished, {"sgd", sigma}, noise); };
    std::vector<std::string> row = {name}, plain_row = {name};
    for (double sigma : sigmas_) {
      if (!quoted({"sgd", sigma}, {0, 0})) continue;
      row.push_back(with_deviation(of(sigma), "%.2f"));
      plain_row.push_back(with_deviation(summary(finished, {"sgd", sigma}, noise, "plain_test_accuracy"), "%.2f"));
      if (sigma == 0.01 || sigma == 0.1)
        claims.add({name, format("sigma {} at least as good as 0", sigma), difference_text(of(sigma), of(0), "%.2f"),
                    to_string(at_least(of(sigma), of(0)))});
      if (sigma == 1)
        claims.add(
            {name, "sigma 1 worse than 0", difference_text(of(1), of(0), "%.2f"), to_string(below(of(1), of(0)))});
    }
    accuracies.add(row);
    plain.add(plain_row);
  }
  return "\nQuoted cells, SGD: test accuracy %, mean ± deviation over the seeds.\n" + accuracies.text() +
         "\nThe same weights in the plain network.\n" + plain.text() +
         "\nClaims of the paper. One holds or does not where the difference, seed by seed, has its sign or is beyond "
         "two standard errors against it; else it is\n"
         "undecided (\"worse\" must be beyond two standard errors to hold).\n" +
         claims.text();
}

std::string GSmoothHeatMap::run(Grid& grid, const std::filesystem::path& folder) {
  const std::vector<Finished> searched = finish(grid, "learning rates", searches());
  const std::vector<Finished> finished = finish(grid, "noise", cells(searched));

  std::string csv = "part,optimizer,sigma,learning_rate,input_noise,label_noise,seed";
  for (const char* column : kColumns) csv += format(",{}", column);
  csv += "\n";
  int64_t diverged = 0;
  for (const auto* part : {&searched, &finished})
    for (const auto& [t, results] : *part) {
      csv += format("{},{},{},{},{},{},{}", t.tuning ? "rate" : "cell", t.method.optimizer, t.method.sigma, t.rate,
                    t.noise.inputs, t.noise.labels, t.seed);
      for (const char* column : kColumns) csv += "," + csv_number(results.at(column));
      csv += "\n";
      diverged += !t.tuning && results.at("diverged") != 0;
    }
  write_text(folder / "results.csv", csv);
  const HeatMap map = heat_map(finished);
  write_text(folder / "heatmap.svg", heat_map_svg(map));
  write_text(folder / "noise.svg", noise_picture());
  std::string table = settings_text() + rates_text(searched) + "\n" + heat_map_text(map);
  if (diverged > 0)
    table += format("{} cells diverged; their accuracy is that of the weights before, or of guessing.\n", diverged);
  table += quoted_text(finished);
  write_text(folder / "table.txt", table);
  return table;
}

}  // namespace

std::shared_ptr<Experiment> gsmooth_heat_map() { return std::make_shared<GSmoothHeatMap>(); }

}  // namespace mollify::experiments
