// Test accuracy of GSmoothSGD and GSmoothAdam (Starnes & Webster, arXiv 2311.00531, figures 1 to 4) for training data
// with noise on the inputs and random labels, by σ. Tuned settings give every method the learning rate that a search on
// one grid finds for it, and stop training by images held out from it. Published ones are those of the authors' code:
// the mean over the outputs as the loss, one learning rate, Xavier weights, penalties by σ, Adam's ε 1e-7, training
// stopped by the test images, and the last epoch's weights tested.
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/gsmooth_heat_map_training.h>
#include <mollify/experiments/reproduce/heat_map.h>
#include <mollify/experiments/reproduce/image_table.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/task.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using namespace gsmooth_heat_map_training;

struct Finished {
  Training training;
  Results results;
};

const char* const kColumns[] = {kAccuracy,  kPlainAccuracy, kValidationLoss, kValidationAccuracy,
                                kBestEpoch, kEpochs,        kDiverged};

class GSmoothHeatMap final : public Experiment {
 public:
  const char* name() const override { return "gsmooth-heatmap"; }
  const char* summary() const override {
    return "GSmoothSGD and GSmoothAdam under input and label noise, by sigma (Starnes & Webster 2023)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "heatmap.svg", "noise.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
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
  Report rates_report(const std::vector<Finished>& searched) const;
  std::string noise_picture() const;
  HeatMap heat_map(const std::vector<Finished>& finished) const;
  Report quoted_report(const std::vector<Finished>& finished) const;
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

std::vector<Finished> GSmoothHeatMap::finish(Grid& grid, const std::string& title,
                                             const std::vector<Training>& trainings) const {
  const gsmooth_heat_map_training::Setting setting{.network = *network_,
                                                   .images = train_,
                                                   .test = test_,
                                                   .preparation = plain_preparation(data),
                                                   .train = limit_,
                                                   .batch = batch_,
                                                   .patience = patience_,
                                                   .published = published(),
                                                   .device = device};
  std::vector<Cell> cells;
  for (const Training& training : trainings)
    cells.push_back({training.key(), [&, training](const auto& own) {
                       return train(training, setting, CellCheckpoint(own, checkpoint_minutes));
                     }});
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
    const double loss = f.results.at(kValidationLoss);
    const bool same = f.training.method.optimizer == method.optimizer && f.training.method.sigma == method.sigma;
    if (!same || f.results.at(kDiverged) != 0 || !(loss < best)) continue;
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

Report GSmoothHeatMap::rates_report(const std::vector<Finished>& searched) const {
  Report report;
  for (const char* optimizer : {"sgd", "adam"}) {
    if (const auto& fixed = fixed_rate(optimizer)) {
      report.add(format("Learning rate of {}: {}, as given.\n", optimizer, *fixed));
      continue;
    }
    report.add(
        format("Learning rates of {}: validation loss after {} epochs on clean data, seed 0; the lowest is taken.\n",
               optimizer, tuning_epochs_));
    std::vector<std::string> heading = {"sigma"};
    for (double rate : rates(optimizer)) heading.push_back(format("{}", rate));
    heading.push_back("taken");
    Table table(heading);
    for (double sigma : sigmas_) {
      std::vector<std::string> row = {format("{}", sigma)};
      for (const auto& [t, results] : searched)
        if (t.method.optimizer == optimizer && t.method.sigma == sigma)
          row.push_back(results.at(kDiverged) == 0 ? number_text(results.at(kValidationLoss), "%.4f") : "diverged");
      row.push_back(format("{}", rate_of({optimizer, sigma}, searched)));
      table.add(row);
    }
    report.add(table);
  }
  return report;
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

Report GSmoothHeatMap::quoted_report(const std::vector<Finished>& finished) const {
  const struct { const char* name; Noise noise; } corners[] = {{"clean", {0, 0}},
                                                               {"worst labels", {0, labels_.back()}},
                                                               {"worst inputs", {inputs_.back(), 0}},
                                                               {"both worst", {inputs_.back(), labels_.back()}}};
  std::vector<std::string> heading = {""};
  for (double sigma : sigmas_)
    if (quoted({"sgd", sigma}, {0, 0})) heading.push_back(format("sigma {}", sigma));
  Table accuracies(heading), plain(heading), claims({"", "claim", "difference and its standard error", ""});
  for (const auto& [name, noise] : corners) {
    const auto of = [&, noise = noise](double sigma) { return summary(finished, {"sgd", sigma}, noise); };
    std::vector<std::string> row = {name}, plain_row = {name};
    for (double sigma : sigmas_) {
      if (!quoted({"sgd", sigma}, {0, 0})) continue;
      row.push_back(with_deviation(of(sigma), "%.2f"));
      plain_row.push_back(with_deviation(summary(finished, {"sgd", sigma}, noise, kPlainAccuracy), "%.2f"));
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
  Report report;
  report.add("Quoted cells, SGD: test accuracy %, mean ± deviation over the seeds.\n");
  report.add(accuracies);
  report.add("The same weights in the plain network.\n");
  report.add(plain);
  report.add(
      "Claims of the paper. One holds or does not where the difference, seed by seed, has its sign or is beyond two "
      "standard errors against it; else it is\n"
      "undecided (\"worse\" must be beyond two standard errors to hold).\n");
  report.add(claims);
  return report;
}

Report GSmoothHeatMap::run(Grid& grid, const std::filesystem::path& folder) {
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
      diverged += !t.tuning && results.at(kDiverged) != 0;
    }
  write_text(folder / "results.csv", csv);
  const HeatMap map = heat_map(finished);
  write_text(folder / "heatmap.svg", heat_map_svg(map));
  write_text(folder / "noise.svg", noise_picture());
  Report report;
  report.add(settings_text());
  report.add(rates_report(searched));
  report.add(heat_map_report(map));
  if (diverged > 0)
    report.add(format("{} cells diverged; their accuracy is that of the weights before, or of guessing.\n", diverged));
  report.add(quoted_report(finished));
  return report;
}

}  // namespace

std::shared_ptr<Experiment> gsmooth_heat_map() { return std::make_shared<GSmoothHeatMap>(); }

}  // namespace mollify::experiments
