// CROWN-IBP (Zhang et al. 2020): margins by CROWN on IBP's boxes, mixed with IBP's own as the radius grows.
#include <mollify/experiments/training/objectives/bounded.h>

namespace mollify::experiments {
namespace {

using nn::bounds::Method;

class CrownIbp final : public BoundedObjective {
 public:
  CrownIbp() : BoundedObjective("crown-ibp", Method::crown_ibp, Method::crown_ibp, 0.5) {}

  Options options() override {
    Options all = BoundedObjective::options();
    add(all, {{{"mix", "Objective",
                "CROWN's share of crown-ibp's margins once the radius is grown, from 1 at radius 0; the rest is IBP's",
                nullptr},
               &mix_,
               share()},
              fusion_option()});
    return all;
  }
  void resolve(RunOptions& run) override {
    require<UsageError>(mix_ == 1 || !fusion(), "mollify train: --mix: {} given with --fusion; needs crown-ibp without",
                        mix_);
    BoundedObjective::resolve(run);
  }

 protected:
  double walked_share(double grown) const override { return mix_ + (1 - mix_) * (1 - grown); }

 private:
  double mix_ = 1;
};

}  // namespace

std::unique_ptr<Objective> crown_ibp_objective() { return std::make_unique<CrownIbp>(); }

}  // namespace mollify::experiments
