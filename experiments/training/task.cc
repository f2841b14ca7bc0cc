#include <mollify/experiments/training/task.h>

#include <mollify/datasets/digits.h>
#include <mollify/datasets/load.h>
#include <mollify/experiments/device.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

void keep_first(datasets::Dataset& images, int64_t count, const char* kind, const std::string& option) {
  if (count == 0) return;
  require<UsageError>(count <= images.size(), "{}: {} given; {} has {} {} images", option, count, images.name,
                      images.size(), kind);
  images = datasets::take(images, 0, count);
}

optim::Schedule make_schedule(const RunOptions& options, const Timetable& timetable) {
  const double rate = *options.learning_rate;
  const int64_t total = timetable.first_step(options.epochs);
  optim::Schedule schedule = optim::constant(rate);
  if (options.schedule == "step" || options.schedule == "milestones") {
    std::vector<int64_t> steps;
    if (options.schedule == "milestones")
      for (const int64_t epoch : milestones(options)) steps.push_back(timetable.first_step(epoch));
    else
      for (int64_t epoch = options.step_every; epoch <= options.epochs; epoch += options.step_every)
        steps.push_back(timetable.first_step(epoch));
    schedule = optim::milestones(rate, *options.step_factor, steps);
  }
  if (options.schedule == "cosine") {
    require<UsageError>(options.warmup < total,
                        "mollify train: --warmup: {} given; needs fewer than the run's {} steps", options.warmup,
                        total);
    schedule = optim::cosine(rate, total - options.warmup);
  }
  return options.warmup > 0 ? optim::linear_warmup(options.warmup, schedule) : schedule;
}

// Batches of every epoch, and the rate of every step.
std::pair<Timetable, optim::Schedule> course_of(const TrainSettings& settings, int64_t images) {
  const RunOptions& options = settings.run();
  if (!settings.degree().exists()) {
    const Timetable timetable(images, {options.batch});
    return {timetable, make_schedule(options, timetable)};
  }
  std::vector<int64_t> batches;
  std::vector<double> rates;
  for (const optim::GraduatedRound& epoch : settings.degree().epochs(options, images)) {
    batches.push_back(epoch.batch);
    rates.push_back(epoch.learning_rate);
  }
  const Timetable timetable(images, batches);
  return {timetable, [timetable, rates](int64_t step) {
            return rates[std::min(static_cast<size_t>(timetable.epoch_of(step)), rates.size() - 1)];
          }};
}

std::unique_ptr<optim::Optimizer> make_optimizer(const RunOptions& options, const optim::Schedule& rate,
                                                 std::unique_ptr<optim::Gradient> gradient) {
  if (options.optimizer == "clipup") return optim::clip_up(rate, {.momentum = *options.momentum}, std::move(gradient));
  if (options.optimizer == "sgd")
    return optim::sgd(rate,
                      {.momentum = *options.momentum,
                       .weight_decay = *options.weight_decay,
                       .nesterov = options.nesterov,
                       .clip_norm = *options.clip_norm},
                      std::move(gradient));
  if (is_schedule_free(options)) {
    const optim::ScheduleFreeOptions how{
        .momentum = *options.momentum, .weight_decay = *options.weight_decay, .clip_norm = *options.clip_norm};
    return (options.optimizer == "schedule-free-sgd" ? optim::schedule_free_sgd : optim::schedule_free_adamw)(
        rate, how, std::move(gradient));
  }
  const optim::AdamOptions how{.weight_decay = *options.weight_decay, .clip_norm = *options.clip_norm};
  return options.optimizer == "adam" ? optim::adam(rate, how, std::move(gradient))
                                     : optim::adamw(rate, how, std::move(gradient));
}

datasets::Augmentation augmentation(const RunOptions& options) {
  const bool folder = options.data == "folder", cifar = options.data == "cifar10" || options.data == "cifar100";
  if (options.augment == "off" || (options.augment == "auto" && !folder && !cifar)) return {};
  return {.padding = folder ? 0 : 4, .flip = true, .resized_crop = folder};
}

}  // namespace

LossFunction loss_named(const std::string& name) {
  if (name == "cross_entropy") return nn::mean_cross_entropy;
  if (name == "squared_error") return nn::mean_squared_error;
  throw ValueError(format("loss: '{}' given; needs cross_entropy or squared_error", name));
}

datasets::Preparation plain_preparation(const std::string& data) {
  datasets::Preparation preparation;
  if (data == "cifar10") {
    preparation.mean = {0.4914f, 0.4822f, 0.4465f};
    preparation.deviation = {0.2470f, 0.2435f, 0.2616f};
  } else if (data == "cifar100") {
    preparation.mean = {0.5071f, 0.4865f, 0.4409f};
    preparation.deviation = {0.2673f, 0.2564f, 0.2762f};
  } else if (data == "folder") {
    preparation.mean = {0.485f, 0.456f, 0.406f};
    preparation.deviation = {0.229f, 0.224f, 0.225f};
  }
  return preparation;
}

nn::Network network_for(const std::string& model, const datasets::Dataset& dataset) {
  return nn::make(model, {dataset.height, dataset.width, dataset.channels}, dataset.classes);
}

datasets::Splits load_images(const std::string& data, const std::string& data_dir, int64_t train, int64_t test,
                             const std::string& option, int64_t extent) {
  if (data == "digits")  // drawn as they are asked for: the same digits as load's first
    return {datasets::digits(train > 0 ? train : 60000, 0, datasets::Split::train),
            datasets::digits(test > 0 ? test : 10000, 0, datasets::Split::test)};
  datasets::Splits all = datasets::load(data, data_dir, data == "folder" ? extent : 0);
  keep_first(all.train, train, "training", option);
  keep_first(all.test, test, "test", option);
  return all;
}

std::unique_ptr<optim::Gradient> make_gradient(const TrainSettings& settings, const optim::Schedule& learning_rate,
                                               std::shared_ptr<const smoothing::Exchange> exchange) {
  const RunOptions& run = settings.run();
  const bool traceable = run.rows == 0 && settings.objective().is_traceable();
  const optim::Schedule share = [rate = learning_rate, first = *run.learning_rate](int64_t step) {
    return rate(step) / first;
  };
  return settings.estimator().make({share, static_cast<uint64_t>(run.seed), traceable, std::move(exchange)});
}

optim::Schedule with_rate_factor(const optim::Schedule& rate, const TrainSettings& settings, const nn::Network& network,
                                 const Timetable& timetable) {
  std::vector<double> factors;
  for (int64_t epoch = 0; epoch < settings.run().epochs; ++epoch)
    factors.push_back(settings.estimator().rate_factor(settings.mask().active(network, epoch)));
  return [rate, factors, timetable](int64_t step) {
    const auto epoch = static_cast<size_t>(timetable.epoch_of(step));
    return rate(step) * factors[std::min(epoch, factors.size() - 1)];
  };
}

Task make_task(const TrainSettings& settings, std::shared_ptr<const smoothing::Exchange> exchange) {
  const RunOptions& options = settings.run();
  use_device("train", options.device);  // before images are read
  return make_task(
      settings,
      load_images(options.data, options.data_dir, options.limit, 0, "mollify train: --limit", options.image_size),
      std::move(exchange));
}

Task make_task(const TrainSettings& settings, datasets::Splits all,
               std::shared_ptr<const smoothing::Exchange> exchange) {
  const RunOptions& options = settings.run();
  const Device device = use_device("train", options.device);
  const uint64_t seed = static_cast<uint64_t>(options.seed);
  const int64_t count = all.train.size();
  require<UsageError>(options.validation < count,
                      "mollify train: --validation: {} given; needs fewer than the {} training images",
                      options.validation, count);
  datasets::Splits parts;
  if (options.validation > 0)
    parts = datasets::split(all.train, options.validation, seed);
  else
    parts.train = std::move(all.train);

  const datasets::Preparation plain = plain_preparation(options.data);
  datasets::Preparation training = plain;
  training.noise = {.input_deviation = options.input_noise, .label_share = options.label_noise, .seed = seed};
  training.augmentation = augmentation(options);
  training.seed = seed;

  nn::Network network = network_for(options.model, parts.train);
  const auto [timetable_of_run, rate] = course_of(settings, parts.train.size());
  Timetable timetable = timetable_of_run;
  timetable.learning_rate = with_rate_factor(rate, settings, network, timetable);
  auto optimizer = make_optimizer(options, timetable.learning_rate, make_gradient(settings, rate, std::move(exchange)));
  return {.train = std::move(parts.train),
          .validation = std::move(parts.test),
          .test = std::move(all.test),
          .training = training,
          .plain = plain,
          .network = std::move(network),
          .loss = loss_named(options.loss),
          .timetable = timetable,
          .device = device,
          .optimizer = std::move(optimizer)};
}

}  // namespace mollify::experiments
