#include <mollify/experiments/training/checkpoint.h>

#include <mollify/engine/ops.h>
#include <mollify/experiments/json.h>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

const std::string kOptimizer = "optimizer.";

// JSON keeps doubles exactly: they are written with as many digits as reading them back needs.
ordered_json json_of(const Position& p) {
  ordered_json out = {{"epoch", p.epoch},     {"batch", p.batch},           {"loss_sum", p.loss_sum},
                      {"images", p.images},   {"correct", p.correct},       {"left_out", p.left_out},
                      {"seconds", p.seconds}, {"best_epoch", p.best_epoch}, {"term_sums", p.term_sums}};
  if (p.best_validation_loss) out["best_validation_loss"] = *p.best_validation_loss;
  return out;
}

Position position_of(const ordered_json& value) {
  Position p{.epoch = value.at("epoch"),
             .batch = value.at("batch"),
             .loss_sum = value.at("loss_sum"),
             .images = value.at("images"),
             .correct = value.at("correct"),
             .left_out = value.at("left_out"),
             .term_sums = value.at("term_sums").get<std::vector<double>>(),
             .seconds = value.at("seconds"),
             .best_validation_loss = {},
             .best_epoch = value.at("best_epoch")};
  if (value.contains("best_validation_loss")) p.best_validation_loss = value.at("best_validation_loss").get<double>();
  return p;
}

}  // namespace

std::map<std::string, Tensor> moved(std::map<std::string, Tensor> tensors, Device device) {
  for (auto& [name, tensor] : tensors)
    if (tensor.rank() > 0) tensor = to(tensor, device);
  return tensors;
}

void put_optimizer(const std::map<std::string, Tensor>& state, nn::SafeTensors& content) {
  for (const auto& [name, tensor] : state) content.tensors[kOptimizer + name] = tensor;
}

std::map<std::string, Tensor> take_optimizer(nn::SafeTensors& content) {
  std::map<std::string, Tensor> state;
  for (const auto& [name, tensor] : content.tensors)
    if (name.starts_with(kOptimizer)) state[name.substr(kOptimizer.size())] = tensor;
  std::erase_if(content.tensors, [](const auto& named) { return named.first.starts_with(kOptimizer); });
  return state;
}

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  nn::SafeTensors content{.tensors = {{"weights", checkpoint.weights}, {"state", checkpoint.state}},
                          .metadata = {{"model", checkpoint.model},
                                       {"data", checkpoint.data},
                                       {"options", checkpoint.options},
                                       {"position", json_of(checkpoint.position).dump()}}};
  put_optimizer(checkpoint.optimizer, content);
  nn::write_safetensors(path, content);
}

Checkpoint read_checkpoint(const std::filesystem::path& path) {
  nn::SafeTensors content = nn::read_safetensors(path);
  const std::string file = path.string();
  Checkpoint checkpoint;
  checkpoint.optimizer = take_optimizer(content);
  checkpoint.weights = content.tensors["weights"];
  checkpoint.state = content.tensors["state"];
  require<FormatError>(checkpoint.weights.defined() && checkpoint.state.defined(),
                       "{}: has no tensors 'weights' and 'state'; needs a checkpoint of mollify train", file);
  checkpoint.model = content.metadata["model"];
  checkpoint.data = content.metadata["data"];
  checkpoint.options = content.metadata["options"];
  try {
    checkpoint.position = position_of(ordered_json::parse(content.metadata["position"]));
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: the run's position cannot be read: {}", file, error.what()));
  }
  return checkpoint;
}

}  // namespace mollify::experiments
