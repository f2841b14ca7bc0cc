#include <mollify/experiments/landscape.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/landscape_files.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/task.h>
#include <mollify/nn/weights_file.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using smoothing::Losses;

constexpr int64_t kHalvings = 14;  // of intervals on the line; beyond them f32 weights hardly move

// What training's settings and objectives refuse is refused by this command: they start with its name.
template <class F>
auto for_landscape(const F& f) {
  try {
    return f();
  } catch (const UsageError& error) {
    const std::string text = error.what(), training = "mollify train";
    throw UsageError(text.rfind(training, 0) == 0 ? "mollify landscape" + text.substr(training.size()) : text);
  }
}

// The weights, and an objective's loss at its full radius on the first training images.
class Probed {
 public:
  Probed(const LandscapeCommand& command, Device device)
      : Probed(command, nn::read_safetensors(command.weights), device) {}
  Probed(const Probed&) = delete;

  Tensor loss(const Tensor& weights) const {
    Objective& objective = settings_.objective();
    const Tensors inputs = objective.inputs(weights, state_, batch_);
    return objective(weights, state_, inputs, Tensor::scalar(0, DType::i32)).loss;
  }
  const Tensor& weights() const { return weights_; }
  Tensor direction(int64_t number, const LandscapeCommand& command) const {
    std::vector<int64_t> sizes;
    if (command.directions == "layer-normalised") sizes = smoothing::layer_sizes(network_);
    if (command.directions == "filter-normalised") sizes = smoothing::unit_sizes(network_);
    return smoothing::random_direction(weights_, static_cast<uint64_t>(command.seed), number, sizes);
  }
  std::string data() const { return data_; }
  std::string objective() const { return settings_.objective().name(); }
  const nn::Network& network() const { return network_; }
  std::string about() const {
    const std::optional<double> radius = settings_.objective().radius(timetable_.first_step(1));
    const int64_t images = batch_.labels.size();
    return format("{} loss{} on {} training {} of {}", objective(), radius ? format(" at radius {}", *radius) : "",
                  images, images == 1 ? "image" : "images", data_);
  }

 private:
  Probed(const LandscapeCommand& command, const nn::SafeTensors& file, Device device)
      : network_(nn::described_network(command.weights, file.metadata)),
        preparation_(preparation_of(command.weights, file.metadata)),
        data_(command.data.empty() ? said(file, "data") : command.data),
        timetable_(command.batch, {command.batch}),
        settings_(for_landscape([&] { return settings_of(command, file); })) {
    const nn::Loaded loaded = nn::load(command.weights, network_);
    weights_ = to(loaded.weights, device);
    state_ = to(loaded.state, device);
    take_batch(command, device);
    for_landscape([&] {
      settings_.objective().prepare({network_, preparation_, timetable_, loss_named(settings_.run().loss), device,
                                     static_cast<uint64_t>(command.seed)});
    });
    settings_.objective().advance(timetable_.first_step(1));
  }

  // One epoch of one step, at whose end the radius is full.
  static TrainSettings settings_of(const LandscapeCommand& command, const nn::SafeTensors& file) {
    const std::string trained = said(file, "objective"), loss = said(file, "loss"), radius = said(file, "radius"),
                      noise = said(file, "noise");
    TrainSettings::Texts texts{{"epochs", "1"}, {"seed", std::to_string(command.seed)}};
    texts["objective"] = !command.objective.empty() ? command.objective : trained.empty() ? "natural" : trained;
    require<FormatError>(known(texts["objective"], objective_names()),
                         "{}: its metadata names the objective '{}'; needs one of --objective's", command.weights,
                         trained);
    const std::optional<double> grown = number_of(radius);
    const Options own = make_objective(texts["objective"])->options();
    if (find(own, "teacher") && command.objective.empty())
      texts["objective"] = "natural";  // no file keeps a teacher
    else if (find(own, "noise") && !noise.empty())
      texts["noise"] = noise;
    const bool has_ball = find(own, "eps");
    if (command.epsilon)
      texts["eps"] = format("{}", *command.epsilon);
    else if (has_ball && grown && *grown > 0 && *grown <= 1)
      texts["eps"] = radius;
    if (has_ball) texts["eps-epochs"] = "1";
    if (!loss.empty()) {
      loss_named(loss);
      texts["loss"] = loss;
    }
    TrainSettings settings(texts);
    settings.resolve();
    return settings;
  }
  static bool known(const std::string& name, const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  void take_batch(const LandscapeCommand& command, Device device) {
    require_data("landscape", command.weights, data_);
    const datasets::Dataset images = load_images(data_, command.data_dir, command.batch, 1,
                                                 "mollify landscape: --batch", image_extent(network_.input()))
                                         .train;
    require_fits("landscape", command.weights, network_, data_, images);
    std::vector<int32_t> indices(static_cast<size_t>(command.batch));
    std::iota(indices.begin(), indices.end(), 0);
    const datasets::Batch batch = datasets::make_batch(images, indices, preparation_);
    batch_ = {to(batch.images, device), to(batch.labels, device), to(Tensor::from(indices, {command.batch}), device)};
  }

  const nn::Network network_;
  const datasets::Preparation preparation_;
  const std::string data_;
  const Timetable timetable_;
  const TrainSettings settings_;
  Tensor weights_, state_;
  Objective::Sample batch_;
};

std::vector<double> grid(double extent, int64_t points) {
  return linspace(-extent, extent, points, DType::f64).to_vector<double>();
}

using Measure = double (*)(std::span<const double>);

// The mean over the samples' own curves, with its standard error.
smoothing::Measured measured_on_samples(const Losses& losses, Measure measure) {
  std::vector<double> groups;
  const size_t group = static_cast<size_t>(losses.group);
  for (size_t j = 0; j < losses.samples.size(); j += group) {
    double total = 0;
    for (size_t k = j; k < j + group; ++k) total += measure(losses.samples[k]);
    groups.push_back(total / static_cast<double>(group));
  }
  const Summary summary = summary_of(groups);
  return {summary.mean, summary.deviation / std::sqrt(static_cast<double>(groups.size()))};
}

void print_line(const Losses& line, double discontinuity) {
  const auto number = [](double value) { return number_text(value, "%.5g"); };
  const auto with_error = [&](const smoothing::Measured& m) {
    return number(m.value) + " ± " + number_text(m.standard_error, "%.2g");
  };
  Table table({"", "loss", "smoothed", "lines of single perturbed weights"});
  const size_t middle = line.plain.size() / 2;
  table.add(
      {"at the weights", number(line.plain[middle]), with_error({line.smoothed[middle], line.error[middle]}), ""});
  struct Row {
    const char* name;
    Measure measure;
  };
  for (const auto& [name, measure] : {Row{"largest jump", smoothing::largest_jump},
                                      Row{"deviation from convexity", smoothing::deviation_from_convexity}})
    table.add({name, number(measure(line.plain)), with_error(smoothing::measured_on_smoothed(line, measure)),
               with_error(measured_on_samples(line, measure))});
  table.add({"largest discontinuity", number(discontinuity), "", ""});
  std::printf("%s", table.text().c_str());
}

void tell_infinite(const Losses& losses, const char* where) {
  int64_t odd = 0, all = static_cast<int64_t>(losses.plain.size());
  const auto count = [&](const std::vector<double>& values) {
    odd += std::count_if(values.begin(), values.end(), [](double y) { return !std::isfinite(y); });
  };
  count(losses.plain);
  for (const auto& sample : losses.samples) count(sample);
  all *= static_cast<int64_t>(losses.samples.size()) + 1;
  if (odd > 0) std::printf("%s\n", format("{}: {} of {} losses are not finite", where, odd, all).c_str());
}

// Measures and writes, the line first.
class Survey {
 public:
  Survey(const LandscapeCommand& command, const Probed& probed, const fs::path& folder)
      : command_(command), probed_(probed), folder_(folder), u_(probed.direction(0, command)) {}

  void take_line() {
    const std::vector<double> t = grid(command_.extent, command_.points);
    double discontinuity = 0;
    const size_t halvings = (t.size() - 1) * static_cast<size_t>(kHalvings);
    const Losses line = measured("line", t.size(), t.size() + halvings, [&](const optim::Loss& loss) {
      discontinuity = smoothing::largest_discontinuity(loss, probed_.weights(), u_, t, kHalvings);
      return smoothing::losses_on_line(loss, probed_.weights(), u_, t, sigma(), draws());
    });
    write_line(folder_, title(), t, line);
    std::printf("%s\n", format("{} ({} weights of norm {}), {}", probed_.network().name(), probed_.weights().size(),
                               number_text(norm(probed_.weights()).item(), "%.4g"), probed_.about())
                            .c_str());
    std::printf("%s\n",
                format("noise of deviation {} on every weight, {} samples; line of {} points to ±{} of the "
                       "weights' norm, direction {}",
                       command_.probe_scale, line.samples.size(), t.size(), command_.extent, command_.directions)
                    .c_str());
    print_line(line, discontinuity);
    tell_infinite(line, "line");
  }
  void take_plane() {
    const std::vector<double> t = grid(command_.extent, command_.plane_points);
    const Tensor v = probed_.direction(1, command_);
    const Losses plane = measured("plane", t.size() * t.size(), 0, [&](const optim::Loss& loss) {
      return smoothing::losses_on_plane(loss, probed_.weights(), u_, v, t, t, sigma(), draws());
    });
    write_plane(folder_, title(), t, plane);
    tell_infinite(plane, "plane");
  }

 private:
  smoothing::Sigma sigma() const { return smoothing::Sigma::stddev(command_.probe_scale); }
  smoothing::MonteCarlo draws() const {
    return {.samples = command_.samples, .seed = static_cast<uint64_t>(command_.seed)};
  }
  std::string title() const {
    return format("{}, {}, noise {}", probed_.network().name(), probed_.about(), command_.probe_scale);
  }

  // `losses` of a loss that shows how far it is, and throws Interrupted; `more` of them besides those at points.
  Losses measured(const char* what, size_t points, size_t more,
                  const std::function<Losses(const optim::Loss&)>& losses) const {
    const int64_t samples = command_.samples + command_.samples % 2;
    Progress progress(what, static_cast<int64_t>(points) * (samples + 1) + static_cast<int64_t>(more), 0, "losses");
    int64_t done = 0;
    return losses([&](const Tensor& weights) {
      stop_if_interrupted();
      const Tensor value = probed_.loss(weights);
      progress.update(++done);
      return value;
    });
  }

  const LandscapeCommand& command_;
  const Probed& probed_;
  const fs::path folder_;
  const Tensor u_;
};

void require_odd(const char* option, int64_t points) {
  require<UsageError>(points % 2 == 1,
                      "mollify landscape: --{}: {} given; needs an odd number: the weights are in the middle", option,
                      points);
}

}  // namespace

int landscape_command(const LandscapeCommand& command) {
  require_given(command.weights, "landscape", "--weights", "a file .safetensors of a run");
  require_odd("points", command.points);
  require_odd("plane-points", command.plane_points);
  use_threads(command.threads);
  catch_interrupts();
  const Probed probed(command, use_device("landscape", command.device));
  const fs::path folder = !command.out.empty() ? command.out
                                               : format("runs/landscape-{}-{}-{}-s{}", probed.data(),
                                                        probed.network().name(), probed.objective(), command.seed);
  make_folder("mollify landscape: --out", folder);
  const FolderLock lock("mollify landscape: --out", folder);
  std::string written;
  try {
    Survey survey(command, probed, folder);
    survey.take_line();
    written = "line.csv, line.svg";
    if (command.plane) {
      survey.take_plane();
      written += ", plane.csv, plane.svg";
    }
  } catch (const Interrupted&) {
    std::fflush(stdout);
    std::fprintf(stderr, "mollify landscape: interrupted; %s\n",
                 written.empty() ? "nothing is written" : format("{} has {}", folder.string(), written).c_str());
    return 130;
  }
  std::printf("saved in %s: %s\n", folder.c_str(), written.c_str());
  return 0;
}

Options options_of(LandscapeCommand& c) {
  Options all;
  add(all,
      {{{"weights", "Data", "weights around which to look, such as a run's model.safetensors", ""}, &c.weights, {}},
       {{"data", "Data", "dataset", "the one that the weights were trained on"}, &c.data, one_of(data_names())},
       data_dir_option(c.data_dir, "Data"),
       {{"batch", "Data", "the first N training images make the loss", nullptr}, &c.batch, at_least(1)},
       {{"objective", "Loss", "whose loss, as mollify train has it once the radius is grown",
         "what the weights were trained for"},
        &c.objective,
        one_of(objective_names())},
       {{"eps", "Loss", "radius of the l-infinity ball, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation",
         "the one that the weights were trained for"},
        &c.epsilon,
        share()},
       {{"probe-scale", "Loss", "standard deviation of the noise on every weight that smooths the loss", nullptr},
        &c.probe_scale,
        at_least(0)},
       {{"samples", "Loss", "samples of the noise, in antithetic pairs; the same at all points", nullptr},
        &c.samples,
        at_least(4)},
       {{"points", "Landscape", "points of the line, an odd number", nullptr}, &c.points, at_least(3)},
       {{"extent", "Landscape", "how far it goes to either side, in units of the weights' norm", nullptr},
        &c.extent,
        above(0)},
       {{"directions", "Landscape",
         "random directions as long as the weights, or each layer or filter as long as the weights'", nullptr},
        &c.directions,
        one_of({"random", "layer-normalised", "filter-normalised"})},
       {{"plane", "Landscape", "also a plane, of two directions", nullptr}, &c.plane, {}},
       {{"plane-points", "Landscape", "points of each side of the plane, an odd number", nullptr},
        &c.plane_points,
        at_least(3)},
       {{"seed", "Run", "seed of the directions and the noise", nullptr}, &c.seed, at_least(0)}});
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run"),
            {{"out", "Run", "folder for line.csv and line.svg, and plane.csv and plane.svg",
              "runs/landscape-<data>-<model>-<objective>-s<seed>"},
             &c.out,
             {}}});
  return all;
}

}  // namespace mollify::experiments
