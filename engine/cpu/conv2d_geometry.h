// Which taps of a kernel meet which pixels, along one axis and in the plane: what forward and both gradients share.
#pragma once

#include <mollify/engine/cpu/conv2d.h>
#include <mollify/engine/cpu/pool_vector.h>


namespace mollify::cpu {

// Destination i (0 ≤ i < count) reads source `origin + i·step + t·dilation` for each tap t where that lies in [0,
// extent).
// In the destination's own array it stands at first + i·stride.
struct Axis {
  int64_t count, first, stride;
  int64_t origin, step, dilation, taps, extent;

  int64_t source(int64_t i, int64_t tap) const { return origin + i * step + tap * dilation; }
};

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Destinations that all read the same taps, and those taps. Padding is never read, so it is never multiplied.
struct Run {
  Range destinations, taps;
};

// The runs that cover all destinations, in order. For most layers: a few at each border and one between.
PoolVector<Run> runs(const Axis& axis);

// The destinations to which one tap contributes: one run with that tap alone (empty when there are none).
Run destinations_of(const Axis& axis, int64_t tap);

// A rectangle of pixels that all read the same rectangle of taps.
struct Patch {
  Run vertical, horizontal;
  int64_t pixels() const { return vertical.destinations.size() * horizontal.destinations.size(); }
};

// All products of a vertical and a horizontal run.
PoolVector<Patch> patches_by_pixel(const Axis& vertical, const Axis& horizontal);

// One patch for each tap that reads anything, in the order of the taps.
PoolVector<Patch> patches_by_tap(const Axis& vertical, const Axis& horizontal);

// Axes of y = conv2d(x): destinations are outputs, sources are inputs.
Axis vertical_axis(const Conv2dShape& shape);
Axis horizontal_axis(const Conv2dShape& shape);

// The same convolution, in the same memory, of 1 × 1 images if the kernel covers the whole image: a matrix product that
// reduces over all values of an image at once. Otherwise the shape itself.
Conv2dShape flattened(const Conv2dShape& shape);

// The input gradient along one axis: inputs phase, phase + stride, … are destinations, outputs are sources. The taps
// that reach them are first_tap, first_tap − tap_step, …, so that the sources ascend.
struct Phase {
  Axis axis;
  int64_t first_tap, tap_step;
};
PoolVector<Phase> phases(const Axis& forward);

}  // namespace mollify::cpu
