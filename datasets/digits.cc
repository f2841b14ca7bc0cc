#include <mollify/datasets/digits.h>
#include <mollify/datasets/streams.h>
#include <mollify/datasets/strokes.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace mollify::datasets {
namespace {

constexpr int kExtent = static_cast<int>(kDigitExtent);
constexpr int kPixels = kExtent * kExtent;
constexpr int64_t kMostDigits = int64_t{1} << 40;
constexpr int kPiecesPerSpan = 6;  // straight pieces between two points of a curve: about a pixel each

using Image = std::array<float, kPixels>;

// One writer's hand: where a point of the unit square goes in the image, in pixels.
class Hand {
 public:
  explicit Hand(RandomSequence& random) {
    const double height = random.uniform(16.5, 22), width = height * random.uniform(0.5, 0.95);
    const double angle = 0.16 * random.normal(), shear = 0.12 + 0.22 * random.normal();
    const double cosine = std::cos(angle), sine = std::sin(angle);
    xx_ = cosine * width, xy_ = -cosine * shear * height - sine * height;
    yx_ = sine * width, yy_ = -sine * shear * height + cosine * height;
    x0_ = kExtent / 2.0 + 1.1 * random.normal(), y0_ = kExtent / 2.0 + 1.1 * random.normal();
    jitter_ = random.uniform(0.015, 0.085);
    for (double& bend : bends_) bend = 0.045 * random.normal();
  }

  // Each control point is missed by a little, and the sheet is bent by a slow wave.
  Point place(Point point, RandomSequence& random) const {
    double x = point.x + jitter_ * random.normal() - 0.5, y = point.y + jitter_ * random.normal() - 0.5;
    x += bends_[0] * std::sin(5 * y) + bends_[1] * std::cos(5 * y);
    y += bends_[2] * std::sin(5 * x) + bends_[3] * std::cos(5 * x);
    return {x0_ + xx_ * x + xy_ * y, y0_ + yx_ * x + yy_ * y};
  }

 private:
  double xx_, xy_, yx_, yy_, x0_, y0_, jitter_;
  double bends_[4];
};

// The pen's width, in pixels, is the part where it is more than half as dark as its middle.
struct Pen {
  float half_width, softness;
};

// Darkens every pixel to what a pen line from a to b leaves at its distance.
void draw_piece(Point a, Point b, Pen pen, float brightness, Image& image) {
  const float reach = pen.half_width + pen.softness;
  const auto first = [reach](double u, double v) {
    return std::max(0, static_cast<int>(std::floor(std::min(u, v) - reach)));
  };
  const auto last = [reach](double u, double v) {
    return std::min(kExtent - 1, static_cast<int>(std::ceil(std::max(u, v) + reach)));
  };
  const float ax = static_cast<float>(a.x), ay = static_cast<float>(a.y);
  const float dx = static_cast<float>(b.x) - ax, dy = static_cast<float>(b.y) - ay;
  const float inverse = 1 / std::max(dx * dx + dy * dy, 1e-6f);
  for (int row = first(a.y, b.y); row <= last(a.y, b.y); ++row)
    for (int column = first(a.x, b.x); column <= last(a.x, b.x); ++column) {
      const float px = static_cast<float>(column) + 0.5f - ax, py = static_cast<float>(row) + 0.5f - ay;
      const float along = std::clamp((px * dx + py * dy) * inverse, 0.0f, 1.0f);
      const float x = px - along * dx, y = py - along * dy;
      const float darkness = (pen.half_width - std::sqrt(x * x + y * y)) / pen.softness + 0.5f;
      float& pixel = image[row * kExtent + column];
      pixel = std::max(pixel, brightness * std::clamp(darkness, 0.0f, 1.0f));
    }
}

// Between b and c; a and d are their neighbours.
Point catmull_rom(Point a, Point b, Point c, Point d, double t) {
  const auto blend = [t](double p, double q, double r, double s) {
    return q + 0.5 * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
  };
  return {blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)};
}

void draw_stroke(const Stroke& stroke, std::span<const Point> points, Pen pen, float brightness, Image& image) {
  const size_t last = points.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    if (!stroke.curved) {
      draw_piece(points[i], points[i + 1], pen, brightness, image);
      continue;
    }
    Point from = points[i];
    for (int piece = 1; piece <= kPiecesPerSpan; ++piece) {
      const Point to = catmull_rom(points[i == 0 ? 0 : i - 1], points[i], points[i + 1], points[std::min(i + 2, last)],
                                   static_cast<double>(piece) / kPiecesPerSpan);
      draw_piece(from, to, pen, brightness, image);
      from = to;
    }
  }
}

const Skeleton& choose(std::span<const Skeleton> skeletons, RandomSequence& random) {
  double total = 0;
  for (const Skeleton& skeleton : skeletons) total += skeleton.weight;
  double left = random.uniform(0, total);
  for (const Skeleton& skeleton : skeletons)
    if ((left -= skeleton.weight) < 0) return skeleton;
  return skeletons.back();
}

// A stray mark away from the middle, thinner and fainter than the digit.
void draw_distractor(Pen pen, RandomSequence& random, Image& image) {
  const double angle = random.uniform(0, 2 * M_PI), radius = random.uniform(9, 13);
  const double direction = random.uniform(0, 2 * M_PI), length = random.uniform(1, 5);
  const Point from{kExtent / 2.0 + radius * std::cos(angle), kExtent / 2.0 + radius * std::sin(angle)};
  const Point to{from.x + length * std::cos(direction), from.y + length * std::sin(direction)};
  const float brightness = static_cast<float>(random.uniform(0.3, 0.8));
  draw_piece(from, to, {0.7f * pen.half_width, pen.softness}, brightness, image);
}

// Blends with the mean under weights (1 2 1)/4 in both directions.
void blur(float share, Image& image) {
  const auto pass = [&image](int step, int other) {
    for (int line = 0; line < kExtent; ++line) {
      float before = 0;
      for (int i = 0; i < kExtent; ++i) {
        float& pixel = image[line * other + i * step];
        const float here = pixel, after = i + 1 < kExtent ? image[line * other + (i + 1) * step] : 0;
        pixel = 0.25f * (before + 2 * here + after);
        before = here;
      }
    }
  };
  const Image sharp = image;
  pass(1, kExtent);
  pass(kExtent, 1);
  for (int i = 0; i < kPixels; ++i) image[i] = sharp[i] + share * (image[i] - sharp[i]);
}

void draw_skeleton(const Skeleton& skeleton, const Hand& hand, Pen pen, RandomSequence& random, Image& image) {
  const float brightness = static_cast<float>(random.uniform(0.7, 1.05));
  std::array<Point, 16> placed;  // a stroke has at most ten points
  Point joint{}, joint_placed{};
  for (const Stroke& stroke : skeleton.strokes) {
    const size_t count = stroke.points.size();
    for (size_t i = 0; i < count; ++i) placed[i] = hand.place(stroke.points[i], random);
    // A stroke that begins where the last one ended is the same pen going on.
    const bool goes_on =
        &stroke != skeleton.strokes.data() && stroke.points[0].x == joint.x && stroke.points[0].y == joint.y;
    if (goes_on) placed[0] = joint_placed;
    draw_stroke(stroke, std::span(placed).first(count), pen, brightness, image);
    joint = stroke.points.back(), joint_placed = placed[count - 1];
  }
}

int32_t label_of(uint64_t seed, Purpose purpose, int64_t index) {
  std::array<int32_t, 10> labels{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const uint32_t step = purpose == Purpose::digit_test;
  shuffle(RandomSequence(key_of(seed, Purpose::digit_labels, index / 10), step), std::span<int32_t>(labels));
  return labels[index % 10];
}

}  // namespace

int32_t draw_digit(uint64_t seed, Split split, int64_t index, std::span<uint8_t, kDigitExtent * kDigitExtent> pixels) {
  require<ValueError>(index >= 0 && index < kMostDigits, "draw_digit: digit {}; needs 0 to 2^40 - 1", index);
  const Purpose purpose = split == Split::train ? Purpose::digit_train : Purpose::digit_test;
  const int32_t label = label_of(seed, purpose, index);
  const RandomKey key = key_of(seed, purpose, index);
  RandomSequence random(key);
  Image image{};
  const Skeleton& skeleton = choose(skeletons_of(label), random);
  const Hand hand(random);
  const Pen pen{static_cast<float>(random.uniform(0.7, 1.8)), static_cast<float>(random.uniform(0.9, 1.5))};
  draw_skeleton(skeleton, hand, pen, random, image);
  if (random.uniform() < 0.12) draw_distractor(pen, random, image);
  blur(static_cast<float>(random.uniform(0, 0.8)), image);
  const double noise = random.uniform(-0.05, 0.08);  // most backgrounds are clean
  if (noise > 0) add_normals(key, 1, static_cast<float>(noise), image);
  for (int i = 0; i < kPixels; ++i) pixels[i] = static_cast<uint8_t>(std::clamp(image[i], 0.0f, 1.0f) * 255 + 0.5f);
  return label;
}

Dataset digits(int64_t count, uint64_t seed, Split split, int64_t first) {
  require<ValueError>(count >= 0 && count <= INT32_MAX && first >= 0 && first <= kMostDigits - count,
                      "digits: {} images from {} on; needs at most 2^31 - 1 of them, within 0 to 2^40", count, first);
  Dataset out{.name = "digits", .height = kDigitExtent, .width = kDigitExtent, .channels = 1, .classes = 10};
  for (int digit = 0; digit < 10; ++digit) out.class_names.push_back(std::to_string(digit));
  std::vector<uint8_t> pixels(count * kPixels);
  out.labels.resize(count);
  cpu::parallel_for(count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      out.labels[i] =
          draw_digit(seed, split, first + i, std::span<uint8_t, kPixels>(pixels.data() + i * kPixels, kPixels));
  });
  out.images = in_memory(std::move(pixels), kPixels);
  return out;
}

}  // namespace mollify::datasets
