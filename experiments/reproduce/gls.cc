// Gaussian loss smoothing (Balauca, Müller, Mao, Baader, Fischer & Vechev 2025, arXiv 2403.07095): training through a
// loss that is smoothed over the weights, so that tight relaxations train. Exact gradients beside randomised gradient
// smoothing (RGS) and PGPE; all else as in the paradox. The paper's populations and deviations are not published with
// it: those here are a search of our own.
#include <mollify/experiments/reproduce/certified.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/nn/models.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace mollify::experiments {
namespace {

constexpr struct {
  const char *objective, *title;
} kRelaxations[] = {{"ibp", "IBP"},           {"hbox", "HBox"},           {"crown-ibp", "CROWN-IBP"},
                    {"deeppoly", "DeepPoly"}, {"alpha-crown", "α-CROWN"}, {"sabr", "SABR"},
                    {"mtl-ibp", "MTL-IBP"}};
constexpr struct {
  const char *gradient, *title;
} kGradients[] = {{"exact", "exact"}, {"rgs", "RGS"}, {"pgpe", "PGPE"}};

struct Training {
  std::string model, objective, gradient;
  double epsilon;
  int64_t probes;
  double scale;
  int64_t seed;

  std::string key() const {
    return format("{} {} {} eps={} n={} s={} seed={}", model, objective, gradient, epsilon, probes, scale, seed);
  }
};

class Gls final : public Experiment {
 public:
  const char* name() const override { return "gls"; }
  const char* summary() const override {
    return "Gaussian loss smoothing: do tight relaxations train? (Balauca et al. 2025)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "timings.csv", "curves.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  struct Finished {
    Training training;
    Results results;
  };

  Results train(const Training& how, const std::filesystem::path& folder) const;
  std::vector<std::string> models() const;
  Training training(const std::string& model, const std::string& objective, const std::string& gradient, double epsilon,
                    int64_t seed) const;
  bool is_trained(const std::string& objective, const std::string& gradient, double epsilon) const;
  std::vector<Training> trainings() const;
  std::vector<Training> sweep() const;
  Summary summary_of_cells(const Training& like, const std::string& number) const;
  Report model_report(const std::string& model, double epsilon) const;
  Report sweep_report() const;
  void write_csv(const std::filesystem::path& folder) const;
  std::string picture() const;

  std::string model_;
  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, epochs_ = 0, ramp_epochs_ = 0, batch_ = 0, rows_ = 0;
  int64_t members_ = 0, gradients_ = 0;
  double first_epsilon_ = 0.1, second_epsilon_ = 0.2, rate_ = 2e-3, pgpe_scale_ = 0.01, rgs_scale_ = 0.003;
  bool sweeps_ = false;
  CertifiedData images_;
  std::vector<Finished> finished_;
};

Options Gls::options() {
  Options all = shared_options();
  add(all,
      {{{"seeds", "Run", "networks of each kind", "3, 1 at tiny"}, &seeds_, at_least(1)},
       {{"sweeps", "Run", "also other populations and deviations, for CROWN-IBP with PGPE and the first seed", nullptr},
        &sweeps_,
        {}},
       {{"model", "Training", "network", "cnn3_tiny, at paper cnn3 and cnn5"}, &model_, one_of(nn::model_names())},
       {{"eps", "Training", "the first radius, of pixels from 0 to 1", nullptr}, &first_epsilon_, above(0)},
       {{"eps2", "Training", "the second one, with alpha-crown at paper scale alone; 0: none", nullptr},
        &second_epsilon_,
        at_least(0)},
       {{"limit", "Training", "training images", "tiny 100, quick 2000, paper 60000 (CIFAR-10: 50000)"},
        &limit_,
        at_least(1)},
       {{"test-limit", "Training", "test images", "tiny 20, quick 1000, paper 10000"}, &test_limit_, at_least(1)},
       {{"epochs", "Training", "epochs", "tiny 2, quick 20, paper 70"}, &epochs_, at_least(1)},
       {{"eps-epochs", "Training", "epochs in which the radius grows from 0", "half of them"},
        &ramp_epochs_,
        at_least(1)},
       {{"batch", "Training", "images in a batch", "tiny 50, quick 100, paper 256"}, &batch_, at_least(1)},
       {{"rows", "Training", "images of a batch that DeepPoly holds at once, for less memory", "all, paper 2"},
        &rows_,
        at_least(1)},
       {{"lr", "Training", "Adam's learning rate; a fifth and a 25th of it from 5/7 and 6/7 of the epochs on", nullptr},
        &rate_,
        above(0)},
       {{"members", "Gradient", "PGPE's population", "tiny 4, quick 64, paper 256"}, &members_, at_least(2)},
       {{"pgpe-scale", "Gradient", "standard deviation of its perturbations", nullptr}, &pgpe_scale_, above(0)},
       {{"gradients", "Gradient", "gradients that RGS takes the mean of", "tiny 2, quick 4, paper 8"},
        &gradients_,
        at_least(2)},
       {{"rgs-scale", "Gradient", "standard deviation of its perturbations", nullptr}, &rgs_scale_, above(0)}});
  return all;
}

void Gls::resolve() {
  resolve_shared();
  choose(seeds_, 1, 3, 3);
  choose(limit_, 100, 2000, data == "cifar10" ? 50000 : 60000);
  choose(test_limit_, 20, 1000, 10000);
  choose(epochs_, 2, 20, 70);
  choose(batch_, 50, 100, 256);
  choose(rows_, batch_, batch_, 2);
  choose(members_, 4, 64, 256);
  choose(gradients_, 2, 4, 8);
  if (ramp_epochs_ == 0) ramp_epochs_ = std::max<int64_t>(1, epochs_ / 2);
  require<UsageError>(ramp_epochs_ <= epochs_,
                      "mollify reproduce {}: --eps-epochs: {} given; needs at most --epochs, {}", name(), ramp_epochs_,
                      epochs_);
  for (const auto& [option, number] : {std::pair{"members", members_}, {"gradients", gradients_}})
    require<UsageError>(number % 2 == 0, "mollify reproduce {}: --{}: {} given; needs an even number", name(), option,
                        number);
}

void Gls::load() {
  images_ =
      load_certified(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()), device);
}

std::vector<std::string> Gls::models() const {
  if (!model_.empty()) return {model_};
  if (is("paper")) return {"cnn3", "cnn5"};
  return {"cnn3_tiny"};
}

Training Gls::training(const std::string& model, const std::string& objective, const std::string& gradient,
                       double epsilon, int64_t seed) const {
  const bool pgpe = gradient == "pgpe", rgs = gradient == "rgs";
  return {model,
          objective,
          gradient,
          epsilon,
          pgpe ? members_ : rgs ? gradients_ : 0,
          pgpe ? pgpe_scale_ : rgs ? rgs_scale_ : 0,
          seed};
}

// α-CROWN trains from losses alone, as its inner search has no gradient of use, and since it takes as long as all else
// together, at one radius but at paper scale; SABR and MTL-IBP are what is compared with.
bool Gls::is_trained(const std::string& objective, const std::string& gradient, double epsilon) const {
  if (objective == "alpha-crown") return gradient == "pgpe" && (epsilon == first_epsilon_ || is("paper"));
  if (objective == "sabr" || objective == "mtl-ibp") return gradient == "exact";
  return true;
}

// The longest first.
std::vector<Training> Gls::trainings() const {
  std::vector<Training> all;
  for (const std::string& model : models())
    for (const double epsilon : {first_epsilon_, second_epsilon_}) {
      if (!(epsilon > 0)) continue;
      for (size_t g = std::size(kGradients); g-- > 0;)
        for (size_t r = std::size(kRelaxations); r-- > 0;)
          for (int64_t seed = 0; seed < seeds_; ++seed)
            if (is_trained(kRelaxations[r].objective, kGradients[g].gradient, epsilon))
              all.push_back(training(model, kRelaxations[r].objective, kGradients[g].gradient, epsilon, seed));
    }
  return all;
}

std::vector<Training> Gls::sweep() const {
  std::vector<Training> all;
  if (!sweeps_) return all;
  const Training base = training(models()[0], "crown-ibp", "pgpe", first_epsilon_, 0);
  for (const double factor : {0.01, 0.1, 10.0}) {
    all.push_back(base);
    all.back().scale *= factor;
  }
  for (const int64_t members : {members_ / 4 / 2 * 2, 2 * members_}) {
    if (members < 2) continue;
    all.push_back(base);
    all.back().probes = members;
  }
  return all;
}

Results Gls::train(const Training& how, const std::filesystem::path& folder) const {
  TrainSettings::Texts more;
  if (how.objective != "sabr" && how.objective != "mtl-ibp") more["regularizer"] = "0";
  if (how.gradient != "exact")
    more.insert({{"gradient", how.gradient},
                 {"probes", std::to_string(how.probes)},
                 {"probe-scale", format("{}", how.scale)},
                 {"probe-course", "learning-rate"}});
  const Tensor weights = trained_weights(
      {data, how.model, how.objective, how.epsilon, epochs_, ramp_epochs_, batch_, rows_, rate_, how.seed, more},
      images_, folder, checkpoint_minutes, device);
  const double steps = static_cast<double>(Timetable(images_.train.size(), {batch_}).first_step(epochs_));
  const double evaluations = how.gradient == "exact" ? 3
                             : how.gradient == "rgs" ? 1 + 3.0 * static_cast<double>(how.probes)
                                                     : 1 + static_cast<double>(how.probes);
  Results results{.numbers = {{"diverged", weights.defined() ? 0 : 1}, {"evaluations", steps * evaluations}}};
  if (!weights.defined()) return results;
  const NoGrad quiet;
  const nn::Network network = network_for(how.model, images_.train);
  results.numbers["natural"] =
      score_of([&](const Tensor& w, const Tensor& images) { return network(w, images); }, weights, images_.test)
          .accuracy;
  double seconds = 0;
  for (const EpochTimings& timings : read_history(folder, epochs_).timings) seconds += timings.training_seconds;
  results.numbers["seconds"] = seconds;
  verify(network, weights, images_, how.epsilon, results);
  return results;
}

Summary Gls::summary_of_cells(const Training& like, const std::string& number) const {
  std::vector<double> numbers;
  for (const auto& [t, results] : finished_) {
    Training other = t;
    other.seed = like.seed;
    if (other.key() == like.key()) numbers.push_back(results.at(number));
  }
  return summary_of(numbers);
}

Report Gls::model_report(const std::string& model, double epsilon) const {
  const auto of = [&](const std::string& objective, const std::string& gradient, const std::string& number) {
    return scaled(summary_of_cells(training(model, objective, gradient, epsilon, 0), number), 100);
  };
  std::vector<std::string> heading = {"trained with", "gradients", "natural"};
  for (const std::string& stage : certified_stages()) heading.push_back(stage);
  heading.push_back("evaluations");
  Table table(heading), claims({"claim", "difference and its standard error", ""});
  for (const auto& gradient : kGradients)
    for (const auto& relaxation : kRelaxations) {
      if (!is_trained(relaxation.objective, gradient.gradient, epsilon)) continue;
      std::vector<std::string> row = {relaxation.title, gradient.title,
                                      with_deviation(of(relaxation.objective, gradient.gradient, "natural"), "%.2f")};
      for (const std::string& stage : certified_stages())
        row.push_back(with_deviation(of(relaxation.objective, gradient.gradient, certified_name(stage)), "%.2f"));
      row.push_back(number_text(
          summary_of_cells(training(model, relaxation.objective, gradient.gradient, epsilon, 0), "evaluations").mean,
          "%.0f"));
      table.add(row);
    }
  const auto claim = [&](const std::string& text, const Summary& less, const Summary& more) {
    claims.add({text, difference_text(more, less, "%.2f"), to_string(below(less, more))});
  };
  const auto best = [&](const std::string& objective, const std::string& gradient) {
    return of(objective, gradient, certified_name("best"));
  };
  claim("exact gradients: DeepPoly certifies less than IBP", best("deeppoly", "exact"), best("ibp", "exact"));
  claim("exact gradients: CROWN-IBP certifies less than IBP", best("crown-ibp", "exact"), best("ibp", "exact"));
  for (const auto& gradient : kGradients) {
    if (std::string(gradient.gradient) == "exact") continue;
    const auto smoothed = [&](const char* objective) { return best(objective, gradient.gradient); };
    claim(format("{}: CROWN-IBP certifies more than IBP", gradient.title), smoothed("ibp"), smoothed("crown-ibp"));
    claim(format("{}: DeepPoly certifies more than IBP", gradient.title), smoothed("ibp"), smoothed("deeppoly"));
    claim(format("DeepPoly certifies more with {} than with exact gradients", gradient.title),
          best("deeppoly", "exact"), smoothed("deeppoly"));
    claim(format("DeepPoly with {} certifies more than IBP with exact gradients", gradient.title), best("ibp", "exact"),
          smoothed("deeppoly"));
    claim(format("DeepPoly with {} certifies more than MTL-IBP", gradient.title), best("mtl-ibp", "exact"),
          smoothed("deeppoly"));
  }
  if (is_trained("alpha-crown", "pgpe", epsilon))
    claim("PGPE: α-CROWN certifies more than IBP", best("ibp", "pgpe"), best("alpha-crown", "pgpe"));
  Report report;
  report.add(format("{} ({} weights), radius {}.\n", model, network_for(model, images_.train).weight_count(), epsilon));
  report.add(table);
  report.add("Claims; one holds beyond two standard errors.\n");
  report.add(claims);
  return report;
}

Report Gls::sweep_report() const {
  Table table({"members", "deviation", "natural", "certified by the best"});
  std::vector<Training> all = sweep();
  all.push_back(training(models()[0], "crown-ibp", "pgpe", first_epsilon_, 0));
  const auto order = [](const Training& t) { return std::pair(t.probes, t.scale); };
  std::sort(all.begin(), all.end(), [&](const Training& a, const Training& b) { return order(a) < order(b); });
  for (const Training& t : all)
    for (const auto& [training, results] : finished_)
      if (training.key() == t.key())
        table.add({std::to_string(t.probes), format("{}", t.scale), number_text(100 * results.at("natural"), "%.2f"),
                   number_text(100 * results.at(certified_name("best")), "%.2f")});
  Report report;
  report.add(
      format("CROWN-IBP with PGPE, {}, radius {}, one seed. Too small a deviation leaves the jumps in, too large "
             "a one leaves nothing of the loss, and few members are noise.\n",
             models()[0], first_epsilon_));
  report.add(table);
  return report;
}

void Gls::write_csv(const std::filesystem::path& folder) const {
  std::vector<std::string> columns = {"natural", "diverged", "evaluations"};
  for (const std::string& stage : certified_stages()) columns.push_back(certified_name(stage));
  std::string csv = "model,objective,gradient,eps,members,deviation,seed", timings = csv + ",seconds\n";
  for (const std::string& column : columns) csv += "," + column;
  csv += "\n";
  for (const auto& [t, results] : finished_) {
    const std::string key =
        format("{},{},{},{},{},{},{}", t.model, t.objective, t.gradient, t.epsilon, t.probes, t.scale, t.seed);
    csv += key;
    for (const std::string& column : columns) csv += "," + csv_number(results.at(column));
    csv += "\n";
    timings += key + "," + csv_number(results.at("seconds")) + "\n";
  }
  write_text(folder / "results.csv", csv);
  write_text(folder / "timings.csv", timings);
}

// Certified shares by relaxation, a curve for each kind of gradient.
std::string Gls::picture() const {
  std::vector<CurvePanel> panels;
  std::vector<std::string> names;
  for (const auto& relaxation : kRelaxations) names.push_back(relaxation.title);
  for (const std::string& model : models())
    for (const double epsilon : {first_epsilon_, second_epsilon_}) {
      if (!(epsilon > 0)) continue;
      std::vector<Curve> curves;
      for (size_t g = 0; g < std::size(kGradients); ++g) {
        Curve curve{kGradients[g].title, g, {}, {}};
        curve.points = true;
        for (size_t r = 0; r < std::size(kRelaxations); ++r) {
          if (!is_trained(kRelaxations[r].objective, kGradients[g].gradient, epsilon)) continue;
          const Summary share =
              scaled(summary_of_cells(training(model, kRelaxations[r].objective, kGradients[g].gradient, epsilon, 0),
                                      certified_name("best")),
                     100);
          curve.x.push_back(static_cast<double>(r));
          curve.y.push_back(share.mean);
          curve.deviation.push_back(share.deviation);
        }
        curves.push_back(std::move(curve));
      }
      const auto [low, high] = range_of(curves);
      panels.push_back({.title = format("{}, radius {}: certified by the best verifier", model, epsilon),
                        .x_title = "trained through",
                        .unit = " %",
                        .curves = std::move(curves),
                        .low = std::min(0.0, low),
                        .high = high,
                        .x_names = names});
    }
  return curves_svg(format("Gaussian loss smoothing on {}: {} {}", data, seeds_, seeds_ == 1 ? "seed" : "seeds"),
                    panels);
}

Report Gls::run(Grid& grid, const std::filesystem::path& folder) {
  finished_.clear();
  const auto finish = [&](const std::string& title, const std::vector<Training>& all) {
    std::vector<Cell> cells;
    for (const Training& t : all) cells.push_back({t.key(), [this, t](const auto& own) { return train(t, own); }});
    const std::vector<Results> results = grid.run(title, cells);
    for (size_t i = 0; i < all.size(); ++i) finished_.push_back({all[i], results[i]});
  };
  finish("networks", trainings());
  finish("sweeps", sweep());
  write_csv(folder);
  write_text(folder / "curves.svg", picture());
  Report report;
  report.add(
      format("Gaussian loss smoothing (Balauca et al. 2025, arXiv 2403.07095).\n"
             "Scale {}, {}: {} training and {} test images, {} seeds. {} epochs, the radius grows over the first {}; "
             "Adam {}, a fifth from 5/7 and again from 6/7 of the epochs on; batch {}.\n",
             scale, data, images_.train.size(), images_.test.count(), seeds_, epochs_, ramp_epochs_, rate_, batch_) +
      format("PGPE: {} members, deviation {}; RGS: {} gradients, deviation {}; both fall with the learning rate. "
             "Evaluations of the loss on a batch; a gradient counts as three.\n",
             members_, pgpe_scale_, gradients_, rgs_scale_) +
      "Accuracies in %, mean ± deviation over the seeds; certified by each verifier, and by the best of them for each "
      "image.\n");
  for (const std::string& model : models())
    for (const double epsilon : {first_epsilon_, second_epsilon_})
      if (epsilon > 0) report.add(model_report(model, epsilon));
  if (sweeps_) report.add(sweep_report());
  const auto diverged = std::count_if(finished_.begin(), finished_.end(),
                                      [](const Finished& f) { return f.results.at("diverged") == 1; });
  if (diverged > 0) report.add(format("{} trainings diverged and have no numbers.\n", diverged));
  return report;
}

}  // namespace

std::shared_ptr<Experiment> gls() { return std::make_shared<Gls>(); }

}  // namespace mollify::experiments
