#include <mollify/experiments/evaluate.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/device.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/robustness/predict_by_votes.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/smooth.h>

#include <cstdio>
#include <numeric>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Of the smoothing that the weights were trained with; 0: none.
double trained_sigma(const std::string& path, const nn::SafeTensors& file) {
  const std::string text = said(file, "sigma", "0");
  const std::optional<double> sigma = number_of(text);
  require<FormatError>(sigma && *sigma >= 0, "{}: its metadata gives sigma as '{}'; needs a number of at least 0", path,
                       text);
  return *sigma;
}

ordered_json as_json(const EvaluateCommand& command, const nn::Network& network, const datasets::Dataset& dataset,
                     const Evaluation& result, double sigma) {
  ordered_json out = {{"weights", command.request.weights},
                      {"model", network.name()},
                      {"data", dataset.name},
                      {"split", command.request.split},
                      {"images", result.images()},
                      {"accuracy", result.accuracy()},
                      {"loss", result.loss},
                      {"classes", ordered_json::array()}};
  for (size_t c = 0; c < result.correct.size(); ++c)
    out["classes"].push_back({{"name", dataset.class_names[c]},
                              {"images", result.class_images[c]},
                              {"accuracy", share(result.correct[c], result.class_images[c])}});
  if (sigma > 0) out["sigma"] = sigma;
  return out;
}

void print_text(const EvaluateCommand& command, const nn::Network& network, const datasets::Dataset& dataset,
                const Evaluation& result, double sigma) {
  const std::string smoothed = sigma > 0 ? format(" smoothed with sigma {}", sigma) : "";
  std::printf("%s%s on the %s images of %s: accuracy %.2f %%, mean loss %.6f (%lld images)\n", network.name().c_str(),
              smoothed.c_str(), command.request.split.c_str(), dataset.name.c_str(), 100 * result.accuracy(),
              result.loss, static_cast<long long>(result.images()));
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
  const ClassifierRequest& request = command.request;
  require_given(request.weights, "eval", "--weights", "a file .safetensors, or with --noise .onnx or .onnx.gz, too");
  if (command.votes.noise) {
    require<UsageError>(!command.sigma, "mollify eval: --sigma: {} given with --noise; needs one of them at most",
                        *command.sigma);
    return predict_by_votes(command);
  }
  for (const auto& [option, given] : {std::pair{"--out", !command.log.out.empty()}, {"--skip", command.log.skip != 1}})
    require<UsageError>(!given, "mollify eval: {}: given; it goes with --noise", option);
  require_one_process("mollify eval: --noise: nothing");
  use_threads(command.threads);
  const Device device = use_device("eval", command.device);
  const std::string& path = request.weights;
  const nn::SafeTensors file = nn::read_safetensors(path);
  const std::string data = request.data.empty() ? said(file, "data") : request.data;
  const nn::Network network = nn::described_network(path, file.metadata);
  const datasets::Preparation preparation = preparation_of(path, file.metadata);
  require_data("eval", path, data);
  const bool training = request.split == "train";
  const datasets::Splits splits =
      load_images(data, request.data_dir, training ? request.images : 1, training ? 1 : request.images,
                  "mollify eval: --images", image_extent(network.input()));
  const datasets::Dataset& dataset = training ? splits.train : splits.test;
  require_fits("eval", path, network, data, dataset);
  const nn::Loaded loaded = nn::load(path, network);
  const Tensor weights = to(loaded.weights, device), state = to(loaded.state, device);
  std::vector<double> sigmas = {command.sigma.value_or(0)};
  if (const double trained = trained_sigma(path, file); !command.sigma && trained > 0) sigmas.push_back(trained);
  ordered_json all;
  for (const double sigma : sigmas) {
    const OutputsOf outputs =
        sigma > 0 ? smoothed_outputs_of(network, weights, state, sigma) : outputs_of(network, weights, state);
    const Evaluation result = *evaluate(outputs, device, dataset, preparation,
                                        loss_named(said(file, "loss", "cross_entropy")), command.batch);
    if (!command.json)
      print_text(command, network, dataset, result, sigma);
    else if (all.empty())
      all = as_json(command, network, dataset, result, sigma);
    else
      all["smoothed"] = as_json(command, network, dataset, result, sigma);
  }
  if (command.json) std::printf("%s\n", all.dump().c_str());
  return 0;
}

Options options_of(EvaluateCommand& c) {
  Options all = classifier_options(c.request);
  add(all, {{{"sigma", "Smoothing", "evaluate the network smoothed in closed form with this sigma; 0: the plain one",
              "both of what was trained"},
             &c.sigma,
             at_least(0)}});
  add(all, noise_options(c.votes));
  add(all, {{{"seed", "Smoothing", "seed of the noise", nullptr}, &c.seed, at_least(0)}});
  add(all, image_log_options(c.log));
  add(all, {{{"batch", "Run", "images, or noisy ones, in a batch", "500, fewer of images above 64 by 64", true},
             &c.batch,
             at_least(1)}});
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run"), {{"json", "Run", "print one JSON object", nullptr, true}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
