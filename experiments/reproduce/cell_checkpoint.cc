#include <mollify/experiments/reproduce/cell_checkpoint.h>

#include <mollify/experiments/json.h>
#include <mollify/experiments/training/checkpoint.h>

namespace mollify::experiments {

CellCheckpoint::CellCheckpoint(std::filesystem::path folder, double minutes)
    : file_(std::move(folder) / "standing.safetensors"), minutes_(minutes) {}

std::optional<CellCheckpoint::Standing> CellCheckpoint::read(Device device) const {
  if (!std::filesystem::exists(file_)) return std::nullopt;
  nn::SafeTensors content = nn::read_safetensors(file_);
  Standing standing{.optimizer = moved(take_optimizer(content), device)};
  standing.tensors = moved(std::move(content.tensors), device);
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
  nn::SafeTensors content{.tensors = moved(now.tensors, Device::cpu),
                          .metadata = {{"results", json_of(now.results).dump()}}};
  put_optimizer(moved(now.optimizer, Device::cpu), content);
  nn::write_safetensors(file_, content);
  written_ = Clock::now();
}

}  // namespace mollify::experiments
