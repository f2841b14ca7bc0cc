// Draws the site's pictures: `build/docs/figures docs/figures`.
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/mollify.h>

#include <cmath>
#include <iostream>

using namespace mollify;
using namespace mollify::experiments;

namespace {

std::vector<double> between(double low, double high, int64_t count) {
  return linspace(low, high, count, DType::f64).to_vector<double>();
}

Curve curve(const std::string& name, size_t series, const std::vector<double>& x,
            const std::function<Tensor(const Tensor&)>& f) {
  return {name, series, x, f(Tensor::from(x, {static_cast<int64_t>(x.size())})).to_vector<double>()};
}

// h_s(x) = E h(x + s z) of h = relu.
std::string smoothed_relu() {
  std::vector<Curve> curves;
  for (const double s : {0.0, 0.25, 0.5, 1.0})
    curves.push_back(
        curve(s == 0 ? "relu" : format("s = {}", s), curves.size(), between(-2, 2, 401),
              [&](const Tensor& x) { return smoothing::relu_smoothed(x, Tensor::scalar(s, DType::f64)); }));
  return curves_svg("relu, averaged over Gaussian noise of deviation s", {{"E relu(x + s z)", "x", "", curves, 0, 2}});
}

std::string smoothed_rastrigin() {
  const smoothing::SmoothedFunction f(smoothing::test_function("rastrigin"),
                                      smoothing::CoordinateNoise::published(smoothing::Law::gaussian));
  std::vector<Curve> curves;
  for (const double delta : {0.0, 0.15, 0.25, 0.5}) {
    Curve one{delta == 0 ? "f" : format("s = {}", delta), curves.size(), between(-4, 4, 401), {}};
    for (const double x : one.x) one.y.push_back(f(x, delta).value);
    curves.push_back(std::move(one));
  }
  return curves_svg("Rastrigin's function, averaged over Gaussian noise", {{"f_s(x)", "x", "", curves, 0, 40}});
}

// Relu on [l, u]: the chord above, lines αx below.
std::string relaxation() {
  const double l = -1, u = 1.5;
  const std::vector<double> x = between(l, u, 101);
  std::vector<Curve> curves = {
      curve("relu", 0, x, [](const Tensor& t) { return relu(t); }),
      curve("above: u(x - l)/(u - l)", 1, x, [&](const Tensor& t) { return (t - l) * (u / (u - l)); })};
  for (const double alpha : {0.0, 0.5, 1.0})
    curves.push_back(curve(format("below: {}x", alpha), curves.size(), x, [&](const Tensor& t) { return t * alpha; }));
  return curves_svg("relu between the lines that CROWN puts in its place",
                    {{"relu on [l, u]", "x", "", curves, -1, 1.5}});
}

// Of a classifier of points of the plane: its boundary, that of its answer under noise, and the ball about a point that
// 10,000 votes certify for the latter.
std::string certified_ball() {
  const double sigma = 0.5, px = 0.2, py = 1.6;
  const auto boundary = [](const Tensor& x) { return sin(x * 2.0); };
  const smoothing::Function f = [&](const Tensor& points) {
    const Tensor above = points(all, 1) - boundary(points(all, 0));
    return stack({zeros_like(above), above}, 1);
  };
  // The height at which half of the noisy points lie above the boundary, by 20,001 draws for each x.
  const auto smoothed = [&](const Tensor& x) {
    const Tensor z = randn({2, 20001}, /*seed=*/1, DType::f64) * sigma;
    std::vector<double> heights;
    for (const double at : x.to_vector<double>())
      heights.push_back(sort(boundary(z[0] + at) - z[1]).values[10000].item());
    return Tensor::from(heights, x.shape());
  };
  const Tensor point = Tensor::from(std::vector<double>{px, py}, {1, 2});
  const double radius =
      smoothing::certify({f, {sigma, 0}}, {point, zeros({1}, DType::i32)}, {.trials = 10000})[0].radius;
  const std::vector<double> across = between(-2.57, 2.57, 401);
  Curve ball{"certified: radius " + number_text(radius, "%.2f"), 2, {}, {}}, centre{"the point", 3, {px}, {py}};
  for (const double angle : between(0, 6.2832, 120)) {
    ball.x.push_back(px + radius * std::cos(angle));
    ball.y.push_back(py + radius * std::sin(angle));
  }
  ball.points = centre.points = true;
  const std::vector<Curve> curves = {curve("boundary", 0, across, boundary),
                                     curve("boundary of most answers under noise", 1, across, smoothed), ball, centre};
  return curves_svg("What votes under Gaussian noise of deviation 0.5 prove",
                    {{"two classes in the plane", "", "", curves, -1, 3}});
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "figures FOLDER\n";
    return 2;
  }
  const std::filesystem::path folder = arguments[1];
  std::filesystem::create_directories(folder);
  write_text(folder / "relu.svg", smoothed_relu());
  write_text(folder / "rastrigin.svg", smoothed_rastrigin());
  write_text(folder / "relaxation.svg", relaxation());
  write_text(folder / "certified_ball.svg", certified_ball());
  return 0;
}
