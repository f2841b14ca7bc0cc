#include <mollify/experiments/training/settings.h>

#include <mollify/experiments/json.h>
#include <mollify/nn/models.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

std::vector<int64_t> milestones_of(const std::string& text) {
  const auto epochs = rising_numbers(text);
  require<UsageError>(epochs.has_value(),
                      "mollify train: --milestones: {} given; needs rising whole numbers between commas, such as 50,60",
                      text);
  return *epochs;
}

void require_folder(const RunOptions& o) {
  require<UsageError>(o.image_size == 0 || o.data == "folder",
                      "mollify train: --image-size: {} given with {}; needs --data folder", o.image_size, o.data);
}

void require_validation(const RunOptions& o) {
  require<UsageError>(o.patience == 0 || o.validation > 0, "mollify train: --patience: {} given; needs --validation",
                      o.patience);
}

std::vector<std::string> initialization_names() {
  return {"fan_in_uniform", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "ibp"};
}

void add_new(Options& all, const Options& more) {
  for (const Option& option : more)
    if (!find(all, option.description.name)) all.push_back(option);
}

// The methods that have the option, as the option that chooses among them.
struct Owners {
  std::string chooser, names;
};
Owners owners(const std::string& name) {
  Owners owners{"objective", ""};
  const auto add = [&](const std::string& method, const Options& options) {
    if (find(options, name)) owners.names += (owners.names.empty() ? "" : ", ") + method;
  };
  for (const std::string& objective : objective_names()) add(objective, make_objective(objective)->options());
  if (!owners.names.empty()) return owners;
  owners.chooser = "gradient";
  for (const std::string& estimator : estimator_names()) add(estimator, make_estimator(estimator)->options());
  return owners;
}

Options data_options(RunOptions& o) {
  return {
      {{"data", "Data", "dataset", nullptr}, &o.data, one_of(data_names())},
      data_dir_option(o.data_dir, "Data"),
      {{"image-size", "Data", "height and width to which the images of a folder are brought",
        "64 for TinyImageNet's layout, else 224"},
       &o.image_size,
       Rule{.low = 1, .high = 4096}},
      {{"limit", "Data", "use only the first N training images", "all"}, &o.limit, at_least(1)},
      {{"validation", "Data", "hold N training images out, chosen by the seed", "none"}, &o.validation, at_least(1)},
      {{"input-noise", "Data",
        "standard deviation of Gaussian noise fixed to the training images, whose pixels are 0 to 1", nullptr},
       &o.input_noise,
       at_least(0)},
      {{"label-noise", "Data", "share of training labels replaced by others, each as likely", nullptr},
       &o.label_noise,
       share()},
      {{"augment", "Data",
        "random crops (of folders of any size, of others with padding 4) and flips of training images; auto: for CIFAR "
        "and folders",
        nullptr},
       &o.augment,
       one_of({"auto", "on", "off"})},

      {{"model", "Network", "network", nullptr}, &o.model, one_of(nn::model_names())},
      {{"init", "Network", "initial weights", "fan_in_uniform; ibp for certified objectives"},
       &o.initialization,
       one_of(initialization_names())},
      {{"loss", "Network", "loss", nullptr}, &o.loss, one_of({"cross_entropy", "squared_error"})}};
}

Options optimizer_options(RunOptions& o) {
  return {
      {{"optimizer", "Optimizer", "method", "sgd; adam for certified objectives"},
       &o.optimizer,
       one_of({"sgd", "adam", "adamw", "clipup", "schedule-free-sgd", "schedule-free-adamw"})},
      {{"lr", "Optimizer", "learning rate; of clipup a step's length",
        "0.1 for sgd and clipup, 0.001 for adam and adamw, 1 and 0.0025 for schedule-free ones, 0.002 for certified "
        "objectives, 1 for sgd with szo or pgpe, 0.01 for macer"},
       &o.learning_rate,
       above(0)},
      {{"momentum", "Optimizer",
        "momentum, for sgd and clipup; for schedule-free methods the average's share in the weights that are trained",
        "0.9; 0 for sgd with szo or pgpe"},
       &o.momentum,
       Rule{.low = 0, .high = 1, .below_high = true}},
      {{"nesterov", "Optimizer", "Nesterov's momentum, for sgd", nullptr}, &o.nesterov, {}},
      {{"weight-decay", "Optimizer", "weight decay, not for clipup",
        "0.0005 for sgd, 0.0001 under noise, 0.01 for adamw, schedule-free alike; 0 for adam, heat, szo and pgpe"},
       &o.weight_decay,
       at_least(0)},
      {{"clip-norm", "Optimizer", "scale longer gradients down to this norm; 0: never",
        "0; 10 for certified objectives"},
       &o.clip_norm,
       at_least(0)},
      {{"schedule", "Optimizer",
        "learning rate's course: constant, falling in steps or at milestones, half a cosine to 0 at the last step",
        "cosine; milestones for certified objectives and under noise; constant for schedule-free methods"},
       &o.schedule,
       one_of({"constant", "step", "milestones", "cosine"})},
      {{"warmup", "Optimizer", "steps of linear warm-up before the schedule", nullptr}, &o.warmup, at_least(0)},
      {{"step-every", "Optimizer", "epochs between the falls of --schedule step", nullptr}, &o.step_every, at_least(1)},
      {{"milestones", "Optimizer", "epochs after which --schedule milestones falls, such as 50,60",
        "5/7 and 6/7 of the epochs; under noise thirds, of heat 3, 6 and 8 tenths, of macer 5 and 10 elevenths", false,
        false, "N,N"},
       &o.milestones,
       {}},
      {{"step-factor", "Optimizer", "factor of each fall", "0.1; 0.2 for milestones, 0.1 under noise"},
       &o.step_factor,
       above(0)}};
}

Options objective_options(RunOptions& o) {
  return {{{"objective", "Objective",
            "what is minimised: the natural loss; that of images attacked by PGD; an upper bound of the loss over the "
            "ball around each image, by a relaxation (certified: ibp to alpha-crown); IBP in a small box around an "
            "attacked image (sabr); IBP and PGD mixed (mtl-ibp); losses under Gaussian noise (gaussian to smoothmix); "
            "the distance to a network's average over noise (heat)",
            nullptr},
           &o.objective,
           one_of(objective_names())},
          {{"eps-test", "Objective",
            "radius at which the test images are certified after each epoch; with 0, they are not", "as --eps"},
           &o.epsilon_test,
           share()},
          {{"certify-limit", "Objective",
            "certify only the first N test images; by IBP for natural, pgd, ibp, hbox, sabr and mtl-ibp, by CROWN with "
            "IBP's boxes for crown-ibp, by CROWN for deeppoly and alpha-crown, by DeepZ for deepz",
            "all with IBP's boxes, else 1000", true},
           &o.certify_limit,
           at_least(1)}};
}

Options gradient_options(RunOptions& o) {
  return {{{"gradient", "Gradient",
            "where gradients come from: differentiation; losses at perturbed weights, by sparse zeroth-order "
            "optimisation (szo) or as PGPE counts them; the mean of gradients at perturbed weights (rgs): these "
            "estimate the loss smoothed over the weights. That of weights moved uphill (sam; asam: as they are large)",
            nullptr},
           &o.gradient,
           one_of(estimator_names())}};
}

Options run_options(RunOptions& o) {
  Options all = {
      {{"epochs", "Run", "passes over the training images",
        "3; 20 for certified objectives; under noise their authors': 90 to 440", true},
       &o.epochs,
       at_least(1)},
      {{"batch", "Run", "images in a batch", "64; 256 under noise, 100 of heat"}, &o.batch, at_least(1)},
      {{"rows", "Run",
        "images of a batch whose record is held at once, for less memory; losses that are no means over images are "
        "those of the parts; needs a model without batch norm",
        "all"},
       &o.rows,
       at_least(1)},
      {{"steps", "Run", "stop after step N, within an epoch if need be; --resume goes on", "none", true},
       &o.steps,
       at_least(1)},
      {{"checkpoint-minutes", "Run", "minutes between checkpoints within an epoch; each epoch ends with one", nullptr,
        true},
       &o.checkpoint_minutes,
       at_least(0)},
      {{"noise-batches", "Run",
        "after each epoch, tell the gradients' noise C^2 by N batches, and SGD's degree of smoothing, in metrics.jsonl",
        "none", true},
       &o.noise_batches,
       at_least(2)},
      {{"patience", "Run", "stop after N epochs without a lower validation loss; needs --validation", "never", true},
       &o.patience,
       at_least(1)},
      {{"seed", "Run", "seed of weights, order, noise, augmentation and validation", nullptr}, &o.seed, at_least(0)}};
  add(all, device_options(o.device, "Run"));
  add(all, {{{"capture", "Run", "record the step once and replay it; the results are the same", nullptr, true},
             &o.capture,
             {}},
            threads_option(o.threads, "Run"),
            {{"out", "Run", "folder of the run", "runs/<data>-<model>-<optimizer>-s<seed>", true}, &o.out, {}}});
  return all;
}

void resolve_optimizer(RunOptions& o) {
  const bool sgd = o.optimizer == "sgd", clip_up = o.optimizer == "clipup", free = is_schedule_free(o);
  require<UsageError>(sgd || clip_up || free || !o.momentum,
                      "mollify train: --momentum: given with {}; needs --optimizer sgd, clipup or a schedule-free one",
                      o.optimizer);
  require<UsageError>(!free || o.momentum.value_or(1) > 0,
                      "mollify train: --momentum: 0 given with {}; needs a positive one, of the average", o.optimizer);
  require<UsageError>(!clip_up || o.weight_decay.value_or(0) == 0,
                      "mollify train: --weight-decay: {} given with clipup, which has none; needs another --optimizer",
                      o.weight_decay.value_or(0));
  require<UsageError>(sgd || !o.nesterov, "mollify train: --nesterov: given with {}; needs --optimizer sgd",
                      o.optimizer);
  const bool free_sgd = o.optimizer == "schedule-free-sgd", free_adamw = o.optimizer == "schedule-free-adamw";
  if (!o.learning_rate) o.learning_rate = free_sgd ? 1 : free_adamw ? 0.0025 : sgd || clip_up ? 0.1 : 0.001;
  if (!o.momentum && (sgd || clip_up || free)) o.momentum = 0.9;
  if (!o.weight_decay) o.weight_decay = sgd || free_sgd ? 0.0005 : o.optimizer == "adamw" || free_adamw ? 0.01 : 0;
  require<UsageError>(!o.nesterov || *o.momentum > 0,
                      "mollify train: --nesterov: given with momentum 0; needs a positive --momentum");
  if (!o.step_factor) o.step_factor = o.schedule == "milestones" ? 0.2 : 0.1;
  require<UsageError>(o.milestones.empty() || o.schedule == "milestones",
                      "mollify train: --milestones: given with --schedule {}; needs --schedule milestones", o.schedule);
  if (o.schedule != "milestones") return;
  const int64_t first = (5 * o.epochs + 6) / 7, second = std::max(first + 1, (6 * o.epochs + 6) / 7);
  if (o.milestones.empty()) o.milestones = format("{},{}", first, second);
  milestones(o);
}

}  // namespace

bool is_schedule_free(const RunOptions& options) { return options.optimizer.starts_with("schedule-free"); }

std::vector<int64_t> milestones(const RunOptions& options) { return milestones_of(options.milestones); }

Options RunOptions::options() {
  Options all = data_options(*this);
  add(all, optimizer_options(*this));
  add(all, objective_options(*this));
  add(all, gradient_options(*this));
  add(all, run_options(*this));
  return all;
}

TrainSettings::TrainSettings(const Texts& given)
    : run_(std::make_unique<RunOptions>()), mask_(std::make_unique<Mask>()), degree_(std::make_unique<Degree>()) {
  if (const auto named = given.find("objective"); named != given.end()) run_->objective = named->second;
  if (const auto named = given.find("gradient"); named != given.end()) run_->gradient = named->second;
  objective_ = make_objective(run_->objective);
  estimator_ = make_estimator(run_->gradient);
  const Options own = options();
  for (const auto& [name, text] : given) {
    const Option* option = find(own, name);
    if (!option) {
      const Owners of = owners(name);
      throw UsageError(format("mollify train: --{}: {} given with --{} {}; it is an option of {}", name, text,
                              of.chooser, of.chooser == "objective" ? run_->objective : run_->gradient, of.names));
    }
    set(*option, text);
  }
}

Options TrainSettings::options() const {
  Options all = run_->options();
  add(all, objective_->options());
  add(all, estimator_->options());
  add(all, mask_->options());
  add(all, degree_->options());
  return all;
}

void TrainSettings::resolve() {
  RunOptions& o = *run_;
  if (is_schedule_free(o) && o.schedule.empty()) o.schedule = "constant";
  degree_->resolve(o);
  estimator_->resolve(o);
  objective_->resolve(o);
  if (o.batch == 0) o.batch = 64;
  resolve_optimizer(o);
  mask_->resolve(o);
  const bool smoothed = objective_->metadata(0).contains("sigma");
  require<UsageError>(o.noise_batches == 0 || (o.objective == "natural" && !smoothed),
                      "mollify train: --noise-batches: {} given with {}; needs --objective natural without --sigma",
                      o.noise_batches, smoothed ? "--sigma" : "--objective " + o.objective);
  require_folder(o);
  require_validation(o);
  if (!o.out.empty()) return;
  std::string about = objective_->tag();
  if (about.empty()) about = o.optimizer;
  if (o.gradient != "exact") about += "-" + o.gradient;
  o.out = format("runs/{}-{}-{}-s{}", o.data, o.model, about, o.seed);
}

std::string TrainSettings::to_json() const { return options_to_json(options()).dump(2); }

TrainSettings TrainSettings::from_json(const std::string& file, const std::string& text) {
  const ordered_json stored = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  const ordered_json objective = stored.is_object() ? stored.value("objective", ordered_json()) : ordered_json();
  const ordered_json gradient = stored.is_object() ? stored.value("gradient", ordered_json()) : ordered_json();
  const auto is_one_of = [](const ordered_json& name, const std::vector<std::string>& names) {
    return name.is_string() && std::count(names.begin(), names.end(), name.get<std::string>()) == 1;
  };
  require<FormatError>(is_one_of(objective, objective_names()),
                       "{}: the run's options cannot be read: they name no objective that there is", file);
  require<FormatError>(is_one_of(gradient, estimator_names()),
                       "{}: the run's options cannot be read: they name no gradient that there is", file);
  TrainSettings settings({{"objective", objective.get<std::string>()}, {"gradient", gradient.get<std::string>()}});
  options_from_json(settings.options(), file, stored);
  return settings;
}

const Options& all_train_options() {
  static const Options all = [] {
    static RunOptions run;
    static std::vector<std::unique_ptr<Objective>> objectives;
    static std::vector<std::unique_ptr<Estimator>> estimators;
    static Mask mask;
    static Degree degree;
    Options options = data_options(run);
    add(options, optimizer_options(run));
    add(options, degree.options());
    add(options, objective_options(run));
    for (const std::string& name : objective_names()) {
      objectives.push_back(make_objective(name));
      add_new(options, objectives.back()->options());
    }
    add(options, gradient_options(run));
    for (const std::string& name : estimator_names()) {
      estimators.push_back(make_estimator(name));
      add_new(options, estimators.back()->options());
    }
    add(options, mask.options());
    add(options, run_options(run));
    return options;
  }();
  return all;
}

TrainSettings resumed(TrainSettings stored, const TrainCommand& command, const std::string& folder) {
  const int64_t epochs = stored.run().epochs;
  TrainSettings::Texts texts = command.given;
  std::set<std::string> given;
  for (const auto& [name, text] : texts) given.insert(name);
  texts.emplace("objective", stored.run().objective);
  texts.emplace("gradient", stored.run().gradient);
  const TrainSettings now(texts);
  const ordered_json before = options_to_json(stored.options());
  ordered_json merged = merged_options(now.options(), before, given, "mollify train", folder);
  options_from_json(stored.options(), folder, merged);
  RunOptions& run = stored.run();
  run.out = folder;
  if (!given.count("steps")) run.steps = 0;
  require<UsageError>(run.schedule != "cosine" || run.epochs == epochs,
                      "mollify train: --epochs: {} given; the cosine schedule of the run in {} ends with epoch {}",
                      run.epochs, run.out, epochs);
  require<UsageError>(!stored.degree().exists() || run.epochs == epochs,
                      "mollify train: --epochs: {} given; the course of --degree of the run in {} ends with epoch {}",
                      run.epochs, run.out, epochs);
  require_validation(run);
  stored.objective().require_epochs(run);
  return stored;
}

}  // namespace mollify::experiments
