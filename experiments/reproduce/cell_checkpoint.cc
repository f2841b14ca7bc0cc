#include <mollify/experiments/reproduce/cell_checkpoint.h>

#include <mollify/engine/ops.h>
#include <mollify/nn/weights_file.h>

#include <nlohmann/json.hpp>

namespace mollify::experiments {
namespace {

const std::string kOptimizer = "optimizer.";

}  // namespace

CellCheckpoint::CellCheckpoint(std::filesystem::path folder, double minutes)
    : file_(std::move(folder) / "standing.safetensors"), minutes_(minutes) {}

std::optional<CellCheckpoint::Standing> CellCheckpoint::read(Device device) const {
  if (!std::filesystem::exists(file_)) return std::nullopt;
  nn::SafeTensors content = nn::read_safetensors(file_);
  Standing standing;
  for (const auto& [name, tensor] : content.tensors) {
    const Tensor there = tensor.rank() > 0 ? to(tensor, device) : tensor;
    if (name.starts_with(kOptimizer))
      standing.optimizer[name.substr(kOptimizer.size())] = there;
    else
      standing.tensors[name] = there;
  }
  try {
    standing.results = results_of(nlohmann::ordered_json::parse(content.metadata["results"]));
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: a cell's results cannot be read: {}", file_.string(), error.what()));
  }
  return standing;
}

void CellCheckpoint::now_and_then(const std::function<Standing()>& standing) {
  if (seconds_since(written_) < 60 * minutes_) return;
  const Standing now = standing();
  nn::SafeTensors content{.tensors = {}, .metadata = {{"results", json_of(now.results).dump()}}};
  for (const auto& [name, tensor] : now.tensors) content.tensors[name] = to(tensor, Device::cpu);
  for (const auto& [name, tensor] : now.optimizer) content.tensors[kOptimizer + name] = to(tensor, Device::cpu);
  nn::write_safetensors(file_, content);
  written_ = Clock::now();
}

}  // namespace mollify::experiments
