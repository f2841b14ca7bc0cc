// The program's commands about networks, as their user meets them: run, bounds, verify, certify and attack.
#include "program.h"

#include <mollify/nn/formats/npy.h>

#include <cmath>
#include <iomanip>
#include <map>
#include <random>

namespace {

using namespace program_tests;
using mollify::Tensor;
using mollify::nn::formats::read_npy;
using mollify::nn::formats::write_npy;

constexpr int64_t kPixels = 28 * 28;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// A list or a list of lists, flat.
std::vector<double> flat(const json& list) {
  std::vector<double> out;
  for (const json& item : list) {
    if (item.is_array()) {
      for (const double value : flat(item)) out.push_back(value);
    } else {
      out.push_back(item.get<double>());
    }
  }
  return out;
}

// The pairs after "sat": "((X_0 v)", " (X_1 v)", … " (Y_k v))".
std::map<char, std::vector<double>> witness_of(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  std::map<char, std::vector<double>> out;
  size_t number = 0;
  for (bool last = false; !last && std::getline(lines, line); ++number) {
    EXPECT_EQ(line.substr(0, 2), number == 0 ? "((" : " (") << line;
    std::string pair = line.substr(2);
    last = pair.size() > 2 && pair.substr(pair.size() - 2) == "))";
    pair = pair.substr(0, pair.find(')'));
    std::vector<double>& values = out[pair[0]];
    EXPECT_EQ(pair.substr(1, pair.find(' ') - 1), "_" + std::to_string(values.size())) << line;
    values.push_back(std::stod(pair.substr(pair.find(' '))));
  }
  EXPECT_EQ(text.find("stage: ") != std::string::npos, true) << text;
  return out;
}

class VerifyProgram : public program_tests::ProgramTest {
 protected:
  // A small network trained on drawn digits; its weights' file.
  std::string trained(const std::string& name = "run") const {
    const Outcome outcome = run(
        "train --data digits --limit 2000 --batch 50 --model cnn3_tiny --epochs 2 --optimizer adam --lr 0.005 --out " +
        in(name).string());
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return (in(name) / "model.safetensors").string();
  }
  // Images from 0 to 1, [rows, 28, 28, 1].
  std::vector<float> images(const std::string& name, int64_t rows) const {
    std::mt19937 random(1);
    std::vector<float> values(static_cast<size_t>(rows * kPixels));
    for (float& value : values) value = static_cast<float>(std::uniform_int_distribution<int>(0, 255)(random)) / 255.0f;
    write_npy(in(name), Tensor::from(values, {rows, 28, 28, 1}));
    return values;
  }
  std::vector<double> outputs(const std::string& network, const std::string& input) const {
    const Outcome outcome = run("run " + network + " --dtype f64 --input " + in(input).string() + " --output " +
                                in("outputs.npy").string());
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return read_npy(in("outputs.npy")).to_vector<double>();
  }
  // A property of the box around an image; `unsafe` speaks of Y.
  std::string property(const std::string& name, const std::vector<float>& image, double radius,
                       const std::string& unsafe) const {
    std::ofstream file(in(name));
    file << std::setprecision(17);
    for (int64_t i = 0; i < kPixels; ++i) file << "(declare-const X_" << i << " Real)\n";
    for (int i = 0; i < 10; ++i) file << "(declare-const Y_" << i << " Real)\n";
    for (int64_t i = 0; i < kPixels; ++i) {
      const double value = image[static_cast<size_t>(i)];
      file << "(assert (>= X_" << i << " " << value - radius << "))(assert (<= X_" << i << " " << value + radius
           << "))\n";
    }
    file << "(assert " << unsafe << ")\n";
    return in(name).string();
  }
  // The folder of networks with known answers; empty where it is not there.
  static std::string vnn() {
    const char* data = std::getenv("MOLLIFY_DATA");
    const fs::path folder = data ? fs::path(data) / "vnn" : fs::path();
    return data && fs::exists(folder / "instances.csv") ? folder.string() : "";
  }
};

TEST_F(VerifyProgram, RunTakesRowsOrOneInput) {
  const std::string network = trained();
  const std::vector<float> pixels = images("x.npy", 5);
  const std::vector<double> all = outputs(network, "x.npy");
  ASSERT_EQ(all.size(), 50u);
  write_npy(in("one.npy"),
            Tensor::from(std::vector<float>(pixels.begin() + kPixels, pixels.begin() + 2 * kPixels), {28, 28, 1}));
  const std::vector<double> one = outputs(network, "one.npy");
  EXPECT_EQ(read_npy(in("outputs.npy")).rank(), 1);
  EXPECT_EQ(one, std::vector<double>(all.begin() + 10, all.begin() + 20));
  ASSERT_EQ(run("run " + network + " --batch 2 --input " + in("x.npy").string() + " --output " + in("y32.npy").string())
                .status,
            0);
  const Tensor single = read_npy(in("y32.npy"));
  const std::vector<float> y32 = single.to_vector<float>();
  EXPECT_EQ(single.shape(), (mollify::Shape{5, 10}));
  for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(y32[i], all[i], 1e-4 * (1 + std::abs(all[i])));
}

TEST_F(VerifyProgram, BoundsHoldWhatTheNetworkComputes) {
  const std::string network = trained();
  constexpr double kRadius = 0.02;
  const std::vector<float> centre = images("x.npy", 2);
  std::mt19937 random(2);
  std::vector<std::vector<double>> inside = {outputs(network, "x.npy")};
  for (int i = 0; i < 4; ++i) {  // corners and inner points of the boxes, within [0, 1]
    std::vector<double> moved(centre.begin(), centre.end());
    for (double& value : moved) {
      const double step = i % 2          ? std::uniform_real_distribution<>(-kRadius, kRadius)(random)
                          : random() % 2 ? kRadius
                                         : -kRadius;
      value = std::clamp(value + step, 0.0, 1.0);
    }
    write_npy(in("moved.npy"), Tensor::from(moved, {2, 28, 28, 1}));
    inside.push_back(outputs(network, "moved.npy"));
  }
  std::map<std::string, double> width;
  for (const std::string method : {"ibp", "hbox", "deepz", "crown-ibp", "crown", "alpha-crown"}) {
    const std::string command =
        "bounds " + network + " --input " + in("x.npy").string() + " --eps 0.02 --clip 0,1 --method " + method;
    for (const std::string more : {"", " --fast", " --batch 1"}) {
      const Outcome outcome = run(command + more);
      ASSERT_EQ(outcome.status, 0) << outcome.error;
      const json result = json::parse(outcome.out);
      EXPECT_EQ(result["lower"].size(), 2u);
      const std::vector<double> lower = flat(result["lower"]), upper = flat(result["upper"]);
      ASSERT_EQ(lower.size(), 20u);
      const double slack = more == " --fast" ? 1e-3 : 0;
      for (const std::vector<double>& y : inside)
        for (size_t i = 0; i < y.size(); ++i)
          EXPECT_TRUE(lower[i] <= y[i] + slack && y[i] <= upper[i] + slack) << method << more << " " << i;
      if (more.empty())
        for (size_t i = 0; i < lower.size(); ++i) width[method] += upper[i] - lower[i];
    }
  }
  EXPECT_LE(width["crown"], width["ibp"]);
  EXPECT_LE(width["alpha-crown"], width["crown"] * (1 + 1e-9));
  const Outcome ball = run("bounds " + network + " --input " + in("x.npy").string() + " --eps 0.02 --norm l2");
  ASSERT_EQ(ball.status, 0) << ball.error;
  const std::vector<double> lower = flat(json::parse(ball.out)["lower"]), upper = flat(json::parse(ball.out)["upper"]);
  double ball_width = 0;
  for (size_t i = 0; i < lower.size(); ++i) ball_width += upper[i] - lower[i];
  EXPECT_LT(ball_width, width["crown"]);
}

TEST_F(VerifyProgram, WitnessesLieInTheBoxAndReplay) {
  const std::string network = trained();
  const std::vector<float> image = images("x.npy", 1);
  const std::vector<double> y = outputs(network, "x.npy");
  const size_t best = static_cast<size_t>(std::max_element(y.begin(), y.end()) - y.begin()), other = (best + 1) % 10;
  const auto name = [](size_t i) { return "Y_" + std::to_string(i); };
  std::ostringstream far_off, reachable;
  far_off << "(>= " << name(best) << " " << y[best] + 1e4 << ")";
  reachable << std::setprecision(17) << "(and (>= " << name(best) << " " << y[best] << ") (<= " << name(other) << " "
            << y[best] << "))";

  const Outcome unsat =
      run("verify " + network + " " + property("far.vnnlib", image, 0.01, far_off.str()) + " --timeout 30");
  EXPECT_EQ(unsat.status, 0) << unsat.error;
  EXPECT_EQ(first_line(unsat.out), "unsat");
  EXPECT_EQ(std::count(unsat.out.begin(), unsat.out.end(), '\n'), 2) << unsat.out;
  EXPECT_NE(unsat.out.find("\nstage: bounds ("), std::string::npos) << unsat.out;

  const Outcome sat =
      run("verify " + network + " " + property("near.vnnlib", image, 0.01, reachable.str()) + " --timeout 30");
  EXPECT_EQ(sat.status, 0) << sat.error;
  ASSERT_EQ(first_line(sat.out), "sat");
  auto witness = witness_of(sat.out);
  ASSERT_EQ(witness['X'].size(), static_cast<size_t>(kPixels));
  ASSERT_EQ(witness['Y'].size(), 10u);
  for (size_t i = 0; i < image.size(); ++i)
    EXPECT_TRUE(image[i] - 0.01 <= witness['X'][i] && witness['X'][i] <= image[i] + 0.01) << i;
  EXPECT_GE(witness['Y'][best], y[best]);
  EXPECT_LE(witness['Y'][other], y[best]);
  write_npy(in("witness.npy"), Tensor::from(witness['X'], {28, 28, 1}));
  const std::vector<double> replayed = outputs(network, "witness.npy");
  for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(replayed[i], witness['Y'][i], 1e-9);
}

TEST_F(VerifyProgram, KnownAnswersAloneAndInLists) {
  const std::string data = vnn();
  if (data.empty()) GTEST_SKIP() << "MOLLIFY_DATA has no folder vnn with the networks of VNN-COMP";
  const std::string toy = data + "/toy/test_", acas = data + "/acasxu/";
  for (const std::string name : {"nano", "tiny", "small"}) {
    const Outcome outcome = run("verify " + toy + name + ".onnx " + toy + name + ".vnnlib");
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    EXPECT_EQ(first_line(outcome.out), "unsat") << name;
  }
  const std::string sat_network = acas + "ACASXU_run2a_1_7_batch_2000.onnx";
  const Outcome sat = run("verify " + sat_network + " " + acas + "prop_3.vnnlib --threads 1");
  ASSERT_EQ(first_line(sat.out), "sat") << sat.error;
  auto witness = witness_of(sat.out);
  ASSERT_EQ(witness['X'].size(), 5u);
  for (size_t i = 1; i < 5; ++i) EXPECT_GE(witness['Y'][i], witness['Y'][0]);  // clear of conflict is minimal
  write_npy(in("witness.npy"), Tensor::from(witness['X'], {1, 1, 5}));
  const std::vector<double> replayed = outputs(sat_network, "witness.npy");
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(replayed[i], witness['Y'][i], 1e-12);

  std::ofstream(in("plain.csv")) << toy << "nano.onnx," << toy << "nano.vnnlib,20\r\n"
                                 << data << "/mnistfc/mnist-net_256x2.onnx," << data
                                 << "/mnistfc/prop_7_0.03.vnnlib,60\n";  // on disk with .gz
  const Outcome plain =
      run("verify --csv " + in("plain.csv").string() + " --jobs 2 --out " + in("results.csv").string());
  EXPECT_EQ(plain.status, 0) << plain.error << plain.out;
  EXPECT_NE(plain.out.find("2 instances: 2 solved, 0 wrong, 0 unknown"), std::string::npos) << plain.out;
  const std::string results = contents(in("results.csv"));
  EXPECT_EQ(std::count(results.begin(), results.end(), '\n'), 3) << results;

  fs::copy(toy + "nano.onnx", in("nano.onnx"));
  fs::copy(toy + "nano.vnnlib", in("nano.vnnlib"));
  std::ofstream(in("damaged.onnx")) << "no network";
  const auto list = [&](const std::string& more) {
    std::ofstream(in("list.csv")) << "onnx,property,timeout_s,expected\nnano.onnx,nano.vnnlib,20," << more;
    return run("verify --csv " + in("list.csv").string());
  };
  const Outcome right = list("unsat\n"), wrong = list("sat\n"),
                damaged = list("unsat\ndamaged.onnx,nano.vnnlib,20,unsat\n"),
                missing = list("unsat\nno.onnx,nano.vnnlib,1,\n");
  EXPECT_EQ(right.status, 0) << right.out << right.error;
  EXPECT_EQ(wrong.status, 1) << wrong.out << wrong.error;
  EXPECT_NE(wrong.out.find("1 solved, 1 wrong"), std::string::npos) << wrong.out;
  EXPECT_EQ(damaged.status, 2) << damaged.out << damaged.error;
  EXPECT_NE(damaged.out.find("1 solved, 0 wrong, 1 unknown"), std::string::npos) << damaged.out;
  EXPECT_NE(damaged.out.find("damaged.onnx"), std::string::npos) << damaged.out;
  EXPECT_EQ(missing.status, 2);
  EXPECT_NE(missing.error.find("line 3"), std::string::npos) << missing.error;
  EXPECT_EQ(missing.out, "");
}

// Each a few numbers, on which bounds or verdicts were wrong once.
TEST_F(VerifyProgram, SmallNetworksHaveTheirVerdicts) {
  if (vnn().empty() || !fs::exists(vnn() + "/small")) GTEST_SKIP() << "MOLLIFY_DATA has no folder vnn/small";
  const std::string small = vnn() + "/small/";
  const struct { const char *network, *property, *verdict;
  } known[] = {{"avgpool_padded_conv", "avgpool_padded_conv", "sat"},
               {"pad_negative_value", "pad_negative_value", "sat"},
               {"double_weight", "double_weight", "sat"},
               {"double_weight", "double_weight_2", "unsat"},
               {"leaky_default_alpha", "leaky_alpha", "sat"},
               {"leaky_explicit_alpha", "leaky_alpha", "sat"},
               {"const_fold", "const_fold", "unknown"}};
  for (const auto& [network, property, verdict] : known) {
    const Outcome outcome = run("verify " + small + network + ".onnx " + small + property + ".vnnlib --timeout 5");
    EXPECT_EQ(outcome.out.substr(0, outcome.out.find('\n')), verdict)
        << network << " " << property << ": " << outcome.error;
  }
  const Outcome branch = run("verify " + small + "maxpool_branch.onnx " + small + "maxpool_branch.vnnlib --timeout 1");
  EXPECT_EQ(branch.error.find("internal"), std::string::npos) << branch.error;
  EXPECT_EQ(run("bounds " + small + "conv3_conv5_inception_add.onnx --eps 0.05 --input " + small +
                "conv3_conv5_inception_add.npy")
                .status,
            0);
  write_npy(in("six.npy"), Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {1, 6}));
  for (const char* network : {"split", "split_first_part"})
    EXPECT_EQ(run("bounds " + small + network + ".onnx --eps 0.05 --input " + in("six.npy").string()).status, 0)
        << network;
}

TEST_F(VerifyProgram, AnInterruptLeavesTheVerdictUnknown) {
  const std::string acas = vnn() + "/acasxu/";
  if (vnn().empty()) GTEST_SKIP() << "MOLLIFY_DATA has no folder vnn with the networks of VNN-COMP";
  for (const int64_t wait : {300'000, 150'000, 80'000}) {  // microseconds; undisturbed it takes a second or more
    const Child child =
        start("verify " + acas + "ACASXU_run2a_1_1_batch_2000.onnx " + acas + "prop_2.vnnlib --threads 1");
    usleep(static_cast<useconds_t>(wait));
    kill(child.pid, SIGINT);
    const Outcome outcome = finish(child);
    if (outcome.status == 0) continue;  // decided before
    EXPECT_EQ(outcome.status, 130);
    EXPECT_EQ(first_line(outcome.out), "unknown");
    EXPECT_NE(outcome.out.find("stage: interrupted"), std::string::npos) << outcome.out;
    return;
  }
  GTEST_SKIP() << "it was always decided before the interrupt";
}

TEST_F(VerifyProgram, ALimitOfTimeLeavesTheVerdictUnknown) {
  const std::string network = trained();
  const std::vector<float> image = images("x.npy", 1);
  const Outcome outcome =
      run("verify " + network + " " + property("p.vnnlib", image, 0.1, "(>= Y_0 30)") + " --timeout 0.000001");
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_EQ(first_line(outcome.out), "unknown");
}

TEST_F(VerifyProgram, CertifiedIsBelowAttackedIsBelowNatural) {
  const std::string network = trained();
  const std::string command =
      "certify --json --images 80 --eps 0.03 --timeout-per-image 2 --attack-steps 10 --weights " + network;
  const auto result_of = [](const Outcome& outcome) {
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return json::parse(outcome.out);
  };
  const json full = result_of(run(command + " --out " + in("c").string()));
  EXPECT_EQ(full["images"], 80);
  EXPECT_GE(full["natural"].get<double>(), full["attacked"].get<double>());
  EXPECT_GE(full["attacked"].get<double>(), full["certified"].get<double>());
  EXPECT_GT(full["certified"].get<double>(), 0);
  const json attack = result_of(run("attack --json --images 80 --eps 0.03 --steps 10 --weights " + network + " --out " +
                                    in("attacked").string()));
  EXPECT_EQ(attack["natural"], full["natural"]);
  EXPECT_GE(attack["attacked"].get<double>(), full["certified"].get<double>());
  const Tensor adversarial = read_npy(in("attacked") / "attacked.npy");
  EXPECT_EQ(adversarial.shape(), (mollify::Shape{80, 28, 28, 1}));
  for (const float value : adversarial.to_vector<float>()) EXPECT_TRUE(value >= 0 && value <= 1);

  double before = 0;
  for (const char* method :
       {"ibp", "crown-ibp", "alpha-crown"}) {  // every stage more certifies no less, from the same images
    const json part = result_of(run(command + " --batch 7 --method " + method));
    EXPECT_GE(part["certified"].get<double>(), before) << method;
    EXPECT_LE(part["certified"].get<double>(), full["certified"].get<double>()) << method;
    EXPECT_EQ(part["stages"][1], full["stages"][1]) << method;
    before = part["certified"].get<double>();
  }
}

TEST_F(VerifyProgram, CertificationGoesOnWhereItEnded) {
  const std::string network = trained();
  const std::string command =
      "certify --json --images 60 --eps 0.02 --method alpha-crown --attack-steps 10 --weights " + network + " --out ";
  const Outcome unbroken = run(command + in("unbroken").string());
  ASSERT_EQ(unbroken.status, 0) << unbroken.error;
  const std::string lines = contents(in("unbroken") / "certify.jsonl");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 60);
  const json line = json::parse(lines.substr(0, lines.find('\n')));
  for (const char* key : {"index", "label", "predicted", "stage", "margin", "verdict"})
    EXPECT_TRUE(line.contains(key)) << key;
  fs::create_directories(in("broken"));
  fs::copy(in("unbroken") / "certify.json", in("broken") / "certify.json");
  std::ofstream(in("broken") / "certify.jsonl") << lines.substr(0, lines.size() / 2);  // within a line
  const Outcome broken = run(command + in("broken").string());
  EXPECT_EQ(broken.status, 0) << broken.error;
  EXPECT_EQ(broken.out, unbroken.out);
  const auto sorted = [](const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> all;
    for (std::string one; std::getline(in, one);) all.push_back(one);
    std::sort(all.begin(), all.end());
    return all;
  };
  EXPECT_EQ(sorted(contents(in("broken") / "certify.jsonl")), sorted(lines));

  const Outcome other = run("certify --images 60 --eps 0.01 --method alpha-crown --attack-steps 10 --weights " +
                            network + " --out " + in("broken").string());
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.error.find("--eps"), std::string::npos) << other.error;
  fs::remove_all(in("run"));
  ASSERT_EQ(run("train --data digits --limit 200 --model cnn3_tiny --epochs 1 --out " + in("run").string()).status, 0);
  const Outcome changed = run(command + in("broken").string());
  EXPECT_EQ(changed.status, 2);
  EXPECT_NE(changed.error.find("--weights"), std::string::npos) << changed.error;
}

TEST_F(VerifyProgram, BadRequestsAreOneLineAndNoVerdict) {
  const std::string network = trained();
  const std::vector<float> image = images("x.npy", 1);
  const std::string x = in("x.npy").string(), y = in("y.npy").string(),
                    good = property("p.vnnlib", image, 0.01, "(>= Y_0 1000)");
  const std::string crossed = property("crossed.vnnlib", image, -0.01, "(>= Y_0 1000)");
  std::ofstream(in("damaged.onnx")) << std::string("\x08\x07\x12\xff\xff\xff\x7fonnx", 11);
  std::ofstream(in("damaged.safetensors")) << "no weights";
  std::ofstream(in("text.vnnlib")) << "(declare-const X_0 Real)(assert (<= X_0 ";
  std::ofstream(in("small.vnnlib"))
      << "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= Y_0 0))";
  std::ofstream(in("list.csv")) << "onnx,property,timeout_s\n" << network << "," << good << ",soon\n";
  std::ofstream(in("empty.csv")) << "\n";
  write_npy(in("row.npy"), Tensor::from(std::vector<float>(5), {1, 5}));
  write_npy(in("nan.npy"), Tensor::from(std::vector<float>(kPixels, NAN), {28, 28, 1}));
  const std::string verify = "verify " + network + " ", bounds = "bounds " + network + " --input " + x;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"run", "NETWORK: not given"},
      {"run " + network, "--input: not given"},
      {"run " + network + " --input " + x, "--output: not given"},
      {"run " + network + " --output " + y + " --input " + in("row.npy").string(), "row.npy: an array of shape [1, 5]"},
      {"run " + in("damaged.onnx").string() + " --input " + x + " --output " + y, "damaged.onnx"},
      {"run " + in("x.npy").string() + " --input " + x + " --output " + y, "needs a file .onnx"},
      {bounds, "--eps: nothing given"},
      {bounds + " --eps -0.1", "--eps: -0.1 given"},
      {bounds + " --eps nan", "--eps: nan given"},
      {bounds + " --eps 8/0", "--eps: 8/0 given"},
      {bounds + " --eps 0.1 --clip 1,0", "--clip: 1,0 given"},
      {bounds + " --eps 0.1 --clip 0.4,0.6", "--clip: 0.4,0.6 given"},
      {bounds + " --eps 0.1 --method magic", "--method: magic given"},
      {"bounds " + network + " --eps 0.1 --input " + in("nan.npy").string(), "bounds"},
      {"verify", "NETWORK: not given"},
      {"verify " + network, "PROPERTY: not given"},
      {verify + good + " extra", "extra given"},
      {verify + good + " --timeout 0", "--timeout: 0 given"},
      {verify + good + " --jobs 2", "needs --csv"},
      {verify + in("none.vnnlib").string(), "none.vnnlib"},
      {verify + in("text.vnnlib").string(), "text.vnnlib"},
      {verify + in("small.vnnlib").string(), "small.vnnlib: a property of 1 inputs and 1 outputs"},
      {verify + crossed, "crossed.vnnlib"},
      {"verify " + in("damaged.onnx").string() + " " + good, "damaged.onnx"},
      {"verify " + in("damaged.safetensors").string() + " " + good, "damaged.safetensors"},
      {"verify " + in("none.onnx").string() + " " + good, "none.onnx"},
      {"verify --csv " + in("none.csv").string(), "none.csv"},
      {"verify --csv " + in("list.csv").string(), "line 2: a limit of soon seconds"},
      {"verify --csv " + in("empty.csv").string(), "no instance"},
      {"certify --eps 0.1", "--weights: not given"},
      {"certify --weights " + network, "--eps: nothing given"},
      {"certify --eps 0.1 --weights " + network + " --images 20000000", "--images"},
      {"certify --eps 0.1 --data cifar10 --data-dir /nowhere --weights " + network, "cifar10"},
      {"attack --eps 1/-3 --weights " + network, "--eps: 1/-3 given"},
      {"attack --eps 0.1 --norm l1 --weights " + network, "--norm: l1 given"},
  };
  expect_refused(cases);
}

TEST_F(VerifyProgram, HelpNamesEveryOption) {
  const Outcome help = run("--help");
  for (const char* name : {"run", "bounds", "verify", "certify", "attack"}) {
    EXPECT_NE(help.out.find(std::string("  ") + name + " "), std::string::npos) << help.out;
    const Outcome own = run(std::string(name) + " --help");
    EXPECT_EQ(own.status, 0);
    EXPECT_NE(own.out.find("--threads"), std::string::npos) << own.out;
  }
}

}  // namespace
