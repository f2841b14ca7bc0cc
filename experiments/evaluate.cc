#include <mollify/experiments/evaluate.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/device.h>
#include <mollify/experiments/networks.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/smooth.h>

#include <nlohmann/json.hpp>

#include <cstdio>
#include <numeric>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// What the weights' file says under `key`, or `otherwise`.
std::string said(const nn::SafeTensors& file, const std::string& key, const std::string& otherwise) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? otherwise : found->second;
}

// Of the smoothing that the weights were trained with; 0: none.
double trained_sigma(const std::filesystem::path& path, const nn::SafeTensors& file) {
  const std::string text = said(file, "sigma", "0");
  const std::optional<double> sigma = number_of(text);
  require<FormatError>(sigma && *sigma >= 0, "{}: its metadata gives sigma as '{}'; needs a number of at least 0",
                       path.string(), text);
  return *sigma;
}

ordered_json as_json(const EvaluateCommand& command, const nn::Network& network, const datasets::Dataset& dataset,
                     const Evaluation& result, double sigma) {
  ordered_json out = {{"weights", command.weights.string()},
                      {"model", network.name()},
                      {"data", dataset.name},
                      {"split", command.split},
                      {"images", result.images()},
                      {"accuracy", result.accuracy()},
                      {"loss", result.loss},
                      {"classes", ordered_json::array()}};
  for (size_t c = 0; c < result.correct.size(); ++c)
    out["classes"].push_back({{"name", dataset.class_names[c]}, {"images", result.class_images[c]},
                              {"accuracy", share(result.correct[c], result.class_images[c])}});
  if (sigma > 0) out["sigma"] = sigma;
  return out;
}

void print_text(const EvaluateCommand& command, const nn::Network& network, const datasets::Dataset& dataset,
                const Evaluation& result, double sigma) {
  const std::string smoothed = sigma > 0 ? format(" smoothed with sigma {}", sigma) : "";
  std::printf("%s%s on the %s images of %s: accuracy %.2f %%, mean loss %.6f (%lld images)\n", network.name().c_str(),
              smoothed.c_str(), command.split.c_str(), dataset.name.c_str(), 100 * result.accuracy(), result.loss,
              static_cast<long long>(result.images()));
  size_t width = 5;
  for (const std::string& name : dataset.class_names) width = std::max(width, name.size());
  std::printf("%-*s  images  accuracy\n", static_cast<int>(width), "class");
  for (size_t c = 0; c < result.correct.size(); ++c)
    std::printf("%-*s  %6lld  %6.2f %%\n", static_cast<int>(width), dataset.class_names[c].c_str(),
                static_cast<long long>(result.class_images[c]), 100 * share(result.correct[c], result.class_images[c]));
}

}  // namespace

int64_t Evaluation::images() const { return std::accumulate(class_images.begin(), class_images.end(), int64_t{0}); }
double Evaluation::accuracy() const {
  return share(std::accumulate(correct.begin(), correct.end(), int64_t{0}), images());
}

int64_t evaluation_batch(const datasets::Dataset& dataset) {
  return std::clamp<int64_t>(kEvaluationBatch * 64 * 64 * 3 / dataset.image_size(), 1, kEvaluationBatch);
}

OutputsOf outputs_of(const nn::Network& network, const Tensor& weights, const Tensor& state) {
  return [&network, weights, state](const Tensor& images, const Tensor&) {
    return network(weights, state, images, nn::Mode::evaluate).output;
  };
}

OutputsOf smoothed_outputs_of(const nn::Network& network, const Tensor& weights, const Tensor& state, double sigma) {
  return [smoothed = smoothing::smooth(network, smoothing::Sigma::paper(sigma)), weights, state](
             const Tensor& images, const Tensor&) { return smoothed(weights, state, images).output; };
}

std::optional<Evaluation> evaluate(const OutputsOf& outputs_of_images, Device device, const datasets::Dataset& dataset,
                                   const datasets::Preparation& preparation, LossFunction loss, int64_t batch_size,
                                   const std::function<bool()>& stop) {
  const NoGrad guard;
  Evaluation result{.loss = 0,
                    .class_images = std::vector<int64_t>(dataset.classes),
                    .correct = std::vector<int64_t>(dataset.classes)};
  if (batch_size == 0) batch_size = evaluation_batch(dataset);
  datasets::Loader loader(dataset, {.batch_size = batch_size, .shuffle = false, .preparation = preparation});
  loader.start_epoch(0);
  while (const auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    const Tensor numbers = Tensor::from(batch->indices, {batch->size()});
    const Tensor outputs = outputs_of_images(to(batch->images, device), to(numbers, device));
    result.loss += loss(outputs, to(batch->labels, device)).item() * static_cast<double>(batch->size());
    const std::vector<int32_t> answers = argmax(outputs).to_vector<int32_t>(),
                               labels = batch->labels.to_vector<int32_t>();
    for (size_t i = 0; i < labels.size(); ++i) {
      ++result.class_images[labels[i]];
      result.correct[labels[i]] += answers[i] == labels[i];
    }
  }
  result.loss /= static_cast<double>(std::max<int64_t>(1, result.images()));
  return result;
}

int evaluate_command(const EvaluateCommand& command) {
  use_threads(command.threads);
  const Device device = use_device("eval", command.device);
  const nn::SafeTensors file = nn::read_safetensors(command.weights);
  const std::string path = command.weights.string(),
                    data = command.data.empty() ? said(file, "data", "") : command.data;
  const nn::Network network = nn::described_network(path, file.metadata);
  const datasets::Preparation preparation = preparation_of(path, file.metadata);
  require<UsageError>(!data.empty(), "mollify eval: --data: not given, and {} does not name its data",
                      command.weights.string());
  const datasets::Splits splits =
      load_images(data, command.data_dir, 0, 0, "mollify eval: --data", image_extent(network.input()));
  const datasets::Dataset& dataset = command.split == "train" ? splits.train : splits.test;
  require<UsageError>(network.input() == Shape{dataset.height, dataset.width, dataset.channels} &&
                          network.output() == Shape{dataset.classes},
                      "mollify eval: --data: {} given, images of {} and {} classes; {} is a network of {} to {}", data,
                      Shape{dataset.height, dataset.width, dataset.channels}, dataset.classes, path, network.input(),
                      network.output());
  const nn::Loaded loaded = nn::load(command.weights, network);
  const Tensor weights = to(loaded.weights, device), state = to(loaded.state, device);
  std::vector<double> sigmas = {command.sigma.value_or(0)};
  if (const double trained = trained_sigma(command.weights, file); !command.sigma && trained > 0)
    sigmas.push_back(trained);
  ordered_json all;
  for (const double sigma : sigmas) {
    const OutputsOf outputs =
        sigma > 0 ? smoothed_outputs_of(network, weights, state, sigma) : outputs_of(network, weights, state);
    const Evaluation result = *evaluate(outputs, device, dataset, preparation,
                                        loss_named(said(file, "loss", "cross_entropy")), command.batch);
    if (!command.json) print_text(command, network, dataset, result, sigma);
    else if (all.empty()) all = as_json(command, network, dataset, result, sigma);
    else all["smoothed"] = as_json(command, network, dataset, result, sigma);
  }
  if (command.json) std::printf("%s\n", all.dump().c_str());
  return 0;
}

Options options_of(EvaluateCommand& c) {
  Options all = {
      {{"data", "Options", "dataset", "the one that the weights were trained on"}, &c.data, one_of(data_names())},
      data_dir_option(c.data_dir, "Options"),
      {{"split", "Options", "which images", nullptr}, &c.split, one_of({"test", "train"})},
      {{"batch", "Options", "images in a batch", "500, fewer of images above 64 by 64"}, &c.batch, at_least(1)},
      {{"sigma", "Options", "evaluate the network smoothed with this sigma; 0: the plain one",
        "both of what was trained"},
       &c.sigma,
       at_least(0)}};
  add(all, device_options(c.device, "Options"));
  all.push_back(threads_option(c.threads, "Options"));
  return all;
}

}  // namespace mollify::experiments
