#include <mollify/smoothing/attacks/square.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/random.h>
#include <mollify/smoothing/attacks/search.h>
#include <mollify/smoothing/rows.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

// Halved at each of these tries of 10,000; with fewer queries in proportion.
double share_at(const SquareOptions& how, int64_t query) {
  constexpr int64_t kHalved[] = {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000};
  double share = how.share;
  for (const int64_t at : kHalved)
    if (query > at) share /= 2;
  return share;
}

struct Extents {
  int64_t height, width, channels;
};
Extents extents_of(const Shape& shape, int64_t dimensions) {
  if (shape.size() == 4) return {shape[1], shape[2], shape[3]};
  return {1, dimensions, 1};
}

struct Window {
  int64_t top, left, height, width;
};

// Draws of one row and query, on the host.
class Draw {
 public:
  Draw(const Threat& threat, int32_t row, int64_t query, const Extents& image)
      : image_(image),
        sequence_({threat.seed, stream_of(Purpose::attack, static_cast<uint64_t>(AttackDraw::windows) << 32 |
                                                               static_cast<uint32_t>(row))},
                  static_cast<uint32_t>(query)) {}

  double sign() { return sequence_.word() & 1 ? 1 : -1; }
  bool coin() { return sequence_.word() & 1; }
  Window window(int64_t side) {
    const int64_t height = std::min(side, image_.height), width = std::min(side, image_.width);
    const auto place = [&](int64_t free) {
      return static_cast<int64_t>(sequence_.below(static_cast<uint64_t>(free + 1)));
    };
    const int64_t top = place(image_.height - height);
    return {top, place(image_.width - width), height, width};
  }

 private:
  const Extents image_;
  RandomSequence sequence_;
};

template <class F>
void for_each_pixel(const Extents& image, const Window& w, int64_t channel, F&& visit) {
  for (int64_t i = 0; i < w.height; ++i)
    for (int64_t j = 0; j < w.width; ++j)
      visit(i, j, static_cast<size_t>(((w.top + i) * image.width + w.left + j) * image.channels + channel));
}

// A square of so many pixels; in a stretch of one line, as long.
int64_t side_of(const Extents& image, double share, int64_t least) {
  const double pixels = share * static_cast<double>(image.height * image.width);
  const double side = image.height == 1 ? pixels : std::sqrt(pixels);
  return std::max<int64_t>(std::llround(side), least);
}

// Two heaps of opposite signs, side by side, of norm 1: offsets of a window in l2. A heap is a pile of centred
// rectangles, the i-th of weight 1/(i + 1)².
std::vector<double> heaps(const Window& w, bool across) {
  const int64_t height = across ? w.width : w.height, width = across ? w.height : w.width, half = height / 2;
  std::vector<double> values(static_cast<size_t>(height * width));
  const auto heap = [&](int64_t top, int64_t rows, double sign) {
    const int64_t layers = std::max(rows / 2, width / 2) + 1;
    for (int64_t layer = 0; layer < layers; ++layer) {
      const int64_t low_i = rows / 2 - layer, low_j = width / 2 - layer, extent = 2 * layer + 1;
      for (int64_t i = std::max<int64_t>(low_i, 0); i < std::min(low_i + extent, rows); ++i)
        for (int64_t j = std::max<int64_t>(low_j, 0); j < std::min(low_j + extent, width); ++j)
          values[static_cast<size_t>((top + i) * width + j)] += sign / static_cast<double>((layer + 1) * (layer + 1));
    }
  };
  if (half > 0) heap(0, half, 1);
  heap(half, height - half, half > 0 ? -1 : 1);
  double squares = 0;
  for (const double v : values) squares += v * v;
  std::vector<double> turned(values.size());
  for (int64_t i = 0; i < height; ++i)
    for (int64_t j = 0; j < width; ++j)
      turned[static_cast<size_t>(across ? j * height + i : i * width + j)] =
          values[static_cast<size_t>(i * width + j)] / std::sqrt(squares);
  return turned;
}

class Square {
 public:
  Square(Search& search, const SquareOptions& how)
      : search_(search), how_(how), image_(extents_of(search.image_shape(), search.dimensions())) {}

  void run(int64_t number) {
    const int64_t first = number * (how_.queries + 1);
    best_ = search_.project(start(first));
    search_.follow({&best_, &margins_});
    const Tensor scores = search_.scores(best_);
    margins_ = search_.margins(scores);
    search_.record(Tensor(best_), scores);
    for (int64_t query = 1; query <= how_.queries && search_.left() > 0; ++query) {
      const double share = share_at(how_, query * 10000 / std::max<int64_t>(how_.queries, 1));
      const Tensor tried = search_.project(linf() ? flipped(share, first + query) : moved(share, first + query));
      const Tensor at = search_.scores(tried), found = search_.margins(at);
      const Tensor better = greater(found, margins_);
      best_ = where(column(better), tried, best_);
      margins_ = where(better, found, margins_);
      search_.record(tried, at);
    }
  }

 private:
  bool linf() const { return search_.threat().norm == Norm::linf; }

  // Fills [n, d] row by row, from the rows' draws.
  template <class F>
  Tensor by_rows(int64_t query, F&& fill) const {
    const std::vector<int32_t> streams = search_.streams().to_vector<int32_t>();
    const auto d = static_cast<size_t>(search_.dimensions());
    std::vector<double> values(streams.size() * d);
    for (size_t row = 0; row < streams.size(); ++row) {
      Draw draw(search_.threat(), streams[row], query, image_);
      fill(draw, row, std::span(values).subspan(row * d, d));
    }
    const Tensor all = Tensor::from(values, {static_cast<int64_t>(streams.size()), static_cast<int64_t>(d)});
    return to(cast(all, search_.center().dtype()), search_.center().device());
  }

  // linf: stripes along the height at either edge. l2: heaps on a grid of 5×5.
  Tensor start(int64_t query) const {
    if (linf())
      return at_edges(search_.center(), by_rows(query, [&](Draw& draw, size_t, std::span<double> row) {
                        for (int64_t j = 0; j < image_.width; ++j)
                          for (int64_t c = 0; c < image_.channels; ++c) {
                            const double sign = draw.sign();
                            for_each_pixel(image_, {0, j, image_.height, 1}, c,
                                           [&](int64_t, int64_t, size_t at) { row[at] = sign; });
                          }
                      }));
    const Tensor offset = by_rows(query, [&](Draw& draw, size_t, std::span<double> row) {
      const int64_t height = std::max<int64_t>(image_.height / 5, 1), width = std::max<int64_t>(image_.width / 5, 1);
      for (int64_t top = 0; top + height <= image_.height; top += height)
        for (int64_t left = 0; left + width <= image_.width; left += width)
          add_heaps(draw, {top, left, height, width}, row);
    });
    return search_.center() + scaled(offset);
  }

  void add_heaps(Draw& draw, const Window& w, std::span<double> row) const {
    const std::vector<double> shape = heaps(w, draw.coin());
    for (int64_t c = 0; c < image_.channels; ++c) {
      const double sign = draw.sign();
      for_each_pixel(image_, w, c, [&](int64_t i, int64_t j, size_t at) {
        row[at] += sign * shape[static_cast<size_t>(i * w.width + j)];
      });
    }
  }

  // To norm epsilon.
  Tensor scaled(const Tensor& offset) const {
    const Tensor length = norm(offset, {1}, /*keep=*/true);
    return offset * (search_.threat().epsilon / where(greater(length, zeros_like(length)), length, ones_like(length)));
  }

  // The upper edge of ball and box where signs are positive, the lower where negative, x elsewhere.
  Tensor at_edges(const Tensor& x, const Tensor& signs) const {
    const Tensor zero = zeros({}, x.dtype(), x.device());
    return where(greater(signs, zero), search_.high(), where(less(signs, zero), search_.low(), x));
  }

  Tensor flipped(double share, int64_t query) const {
    const int64_t side = side_of(image_, share, 1);
    return at_edges(best_, by_rows(query, [&](Draw& draw, size_t, std::span<double> row) {
                      const Window w = draw.window(side);
                      for (int64_t c = 0; c < image_.channels; ++c) {
                        const double sign = draw.sign();
                        for_each_pixel(image_, w, c, [&](int64_t, int64_t, size_t at) { row[at] = sign; });
                      }
                    }));
  }

  // One window takes another's share of the offset, and what epsilon leaves, in heaps upon what it has.
  Tensor moved(double share, int64_t query) const {
    const int64_t side = side_of(image_, share, 3) | 1;
    const std::vector<double> offsets = cast(best_ - search_.center(), DType::f64).to_vector<double>();
    const Tensor offset = by_rows(query, [&](Draw& draw, size_t number, std::span<double> row) {
      std::copy_n(offsets.begin() + static_cast<std::ptrdiff_t>(number * row.size()), row.size(), row.begin());
      move(draw, side, row);
    });
    return search_.center() + scaled(offset);
  }

  void move(Draw& draw, int64_t side, std::span<double> row) const {
    const Window to = draw.window(side), from = draw.window(side);
    const std::vector<double> shape = heaps(to, draw.coin());
    double all = 0;
    for (const double v : row) all += v * v;
    const double epsilon = search_.threat().epsilon;
    const double unused = std::max(epsilon * epsilon - all, 0.0) / static_cast<double>(image_.channels);
    for (int64_t c = 0; c < image_.channels; ++c) {
      const double sign = draw.sign();
      double here = 0, there = 0;
      for_each_pixel(image_, to, c, [&](int64_t, int64_t, size_t at) { here += row[at] * row[at]; });
      for_each_pixel(image_, from, c, [&](int64_t i, int64_t j, size_t at) {
        const int64_t y = from.top + i - to.top, x = from.left + j - to.left;
        if (!(0 <= y && y < to.height && 0 <= x && x < to.width)) there += row[at] * row[at];
      });
      std::vector<double> next(shape.size());
      double squares = 0;
      for_each_pixel(image_, to, c, [&](int64_t i, int64_t j, size_t at) {
        double& value = next[static_cast<size_t>(i * to.width + j)];
        value = sign * shape[static_cast<size_t>(i * to.width + j)] + row[at] / (std::sqrt(here) + 1e-12);
        squares += value * value;
      });
      const double length = std::sqrt(unused + here + there) / (std::sqrt(squares) + 1e-12);
      for_each_pixel(image_, from, c, [&](int64_t, int64_t, size_t at) { row[at] = 0; });
      for_each_pixel(image_, to, c, [&](int64_t i, int64_t j, size_t at) {
        row[at] = next[static_cast<size_t>(i * to.width + j)] * length;
      });
    }
  }

  Search& search_;
  const SquareOptions& how_;
  const Extents image_;
  Tensor best_, margins_;
};

}  // namespace

Adversarial square_attack(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                          const SquareOptions& how) {
  check_attack(f, x, labels, threat, /*needs_ball=*/true);
  require<ValueError>(how.queries >= 0 && how.restarts >= 1 && how.share > 0 && how.share <= 1,
                      "attack: {} queries, {} restarts, share {}; need queries ≥ 0, restarts ≥ 1, a share in (0, 1]",
                      how.queries, how.restarts, how.share);
  const NoGrad guard;
  Search search(f, x, labels, threat, Keep::worst_until_success);
  search.start(Objective::margin, 0);
  for (int64_t number = 0; number < how.restarts && search.left() > 0; ++number) Square(search, how).run(number);
  return search.result();
}

}  // namespace mollify::smoothing
