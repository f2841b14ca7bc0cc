// Decoupled direction and norm (Rony et al. 2019): the nearest input in l2 that is classified wrongly.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct DdnOptions {
  int64_t steps = 100;
  double first_norm = 1;  // of the offset from x, in units of x; from about the true distance on few steps do
  double gamma = 0.05;    // the norm shrinks by this share where the goal is reached and grows where it is not
  int64_t levels = 0;     // above 0: offsets end on multiples of (upper − lower)/levels, such as 255 for images
};

// The offset's direction follows the gradient of the cross-entropy by steps that fall from 1 to 0.01 by a cosine; its
// norm alone follows success. The nearest point that reached the goal comes back, and x where none did. The norm is at
// most that of the farthest point of the box, and the threat's epsilon, which may be infinite. l2 only.
Adversarial ddn(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                const DdnOptions& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
