#include <mollify/experiments/training/mask.h>

#include <mollify/engine/ops.h>
#include <mollify/experiments/training/settings.h>

#include <cmath>
#include <sstream>

namespace mollify::experiments {

Options Mask::options() {
  return {{{"mask", "Mask",
            "train fewer and fewer weights: the largest; random ones; the best of random ones by accuracy on the "
            "validation images with the others at 0; or those of --mask-layers alone",
            nullptr},
           &kind_,
           one_of({"none", "magnitude", "random", "held-out", "layers"})},
          {{"masked", "Mask", "what masked weights become: as they are, 0, or as when the last epochs began", nullptr},
           &masked_,
           one_of({"freeze", "prune", "rewind"})},
          {{"mask-every", "Mask", "epochs between two masks", nullptr}, &every_, at_least(1)},
          {{"mask-share", "Mask", "share of the active weights that each masks", nullptr},
           &share_,
           Rule{.low = 0, .high = 1, .above_low = true, .below_high = true}},
          {{"mask-from", "Mask", "a mask chooses among the active weights, or anew among all", nullptr},
           &from_,
           one_of({"active", "all"})},
          {{"mask-candidates", "Mask", "random masks that held-out compares", nullptr}, &candidates_, at_least(1)},
          {{"mask-layers", "Mask", "layers that --mask layers trains, such as dense1,dense3", "none", false, false,
            "NAME,NAME"},
           &layers_,
           {}}};
}

void Mask::resolve(const RunOptions& run) {
  const Mask otherwise;
  require<UsageError>(
      exists() || (masked_ == otherwise.masked_ && every_ == otherwise.every_ && share_ == otherwise.share_ &&
                   from_ == otherwise.from_ && candidates_ == otherwise.candidates_ && layers_.empty()),
      "mollify train: --masked or --mask-…: given without --mask; needs one");
  require<UsageError>(kind_ != "held-out" || run.validation > 0,
                      "mollify train: --mask: held-out given without --validation; needs images to choose by");
  require<UsageError>((kind_ == "layers") == !layers_.empty(),
                      "mollify train: --mask-layers: {} given with --mask {}; needs both or neither",
                      layers_.empty() ? "nothing" : layers_, kind_);
}

std::vector<int64_t> Mask::named_layers(const nn::Network& network) const {
  std::vector<int64_t> places;
  std::istringstream names(layers_);
  std::vector<std::string> wanted;
  for (std::string name; std::getline(names, name, ',');) wanted.push_back(name);
  std::vector<bool> found(wanted.size());
  int64_t first = 0;
  for (const nn::Piece& piece : network.weights()) {
    for (size_t i = 0; i < wanted.size(); ++i)
      if (piece.name.starts_with(wanted[i] + ".")) {
        found[i] = true;
        for (int64_t at = 0; at < piece.shape.size(); ++at) places.push_back(first + at);
        break;
      }
    first += piece.shape.size();
  }
  for (size_t i = 0; i < wanted.size(); ++i)
    require<UsageError>(found[i], "mollify train: --mask-layers: {} given; {} has no layer of that name", wanted[i],
                        network.name());
  return places;
}

int64_t Mask::active(const nn::Network& network, int64_t epoch) const {
  int64_t count = network.weight_count();
  if (kind_ == "layers") return static_cast<int64_t>(named_layers(network).size());
  for (int64_t round = 0; exists() && round < epoch / every_; ++round)
    count -= static_cast<int64_t>(std::floor(share_ * static_cast<double>(count)));
  return count;
}

bool Mask::shrinks_at(int64_t epoch) const { return exists() && kind_ != "layers" && epoch > 0 && epoch % every_ == 0; }

std::string Mask::about(const nn::Network& network) const {
  if (!exists()) return "";
  if (kind_ == "layers") return format("{} weights of {} are trained", active(network, 0), layers_);
  return format("every {} epochs {} of the active weights are masked by {} and {}", every_, share_, kind_,
                prunes()    ? "set to 0"
                : rewinds() ? "set back"
                            : "frozen");
}

Positions Mask::first(const nn::Network& network, Device device) const {
  if (kind_ != "layers") return optim::all_weights(network.weight_count(), device);
  return Positions(named_layers(network), network.weight_count(), device);
}

Positions Mask::next(const Positions& before, const Tensor& weights, int64_t epoch, uint64_t seed,
                     const Accuracy& accuracy) const {
  const int64_t count = before.count() - static_cast<int64_t>(std::floor(share_ * static_cast<double>(before.count())));
  const Device device = before.indices().device();
  const Positions among = from_ == "active" ? before : optim::all_weights(before.size(), device);
  const RandomKey key{seed, stream_of(Purpose::active_weights, static_cast<uint64_t>(epoch))};
  if (kind_ == "magnitude") return optim::largest_weights(weights, among, count);
  if (kind_ == "random") return optim::drawn_weights(among, count, key);
  return optim::best_drawn_weights(among, count, key, candidates_, [&](const Positions& candidate) {
    return accuracy(put(zeros_like(weights), candidate, take(weights, candidate.indices())));
  });
}

}  // namespace mollify::experiments
