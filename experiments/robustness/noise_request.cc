#include <mollify/experiments/robustness/noise_request.h>

#include <mollify/experiments/processes.h>

#include <cstdio>

namespace mollify::experiments {

Options noise_options(NoiseRequest& r) {
  return {{{"noise", "Smoothing", "standard deviation of the noise, of pixels from 0 to 1, before normalisation", ""},
           &r.noise,
           above(0)},
          {{"n", "Smoothing", "draws that are counted", nullptr}, &r.trials, at_least(1)},
          {{"alpha", "Smoothing", "how often what the counts say of an image may be wrong", nullptr},
           &r.alpha,
           Rule{.low = 0, .high = 1, .above_low = true, .below_high = true}}};
}

std::string text_of(const NoiseRequest& request) {
  return format("votes of {} draws with noise {} of pixels from 0 to 1, alpha {}", request.trials, *request.noise,
                request.alpha);
}

std::string time_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  char text[40];
  std::snprintf(text, sizeof text, "%lld:%02lld:%09.6f", static_cast<long long>(whole / 3600),
                static_cast<long long>(whole / 60 % 60), seconds - static_cast<double>(whole / 60 * 60));
  return text;
}

void require_noise(const NoiseRequest& request, const std::string& method) {
  require<UsageError>(
      request.noise.has_value(),
      "mollify certify: --noise: nothing given; --method {} needs the noise's deviation, of pixels from "
      "0 to 1",
      method);
}

void require_one_process(const std::string& option) {
  const int64_t count = Processes::all().count();
  require<UsageError>(count == 1, "{} given with {} processes; needs one: only votes under noise share images out",
                      option, count);
}

}  // namespace mollify::experiments
