// The program as its user meets it: small jobs, their files, their exit status and what they print.
#include "program.h"

namespace {

using namespace program_tests;

class Program : public program_tests::ProgramTest {
 protected:
  // A run of the small job into folder `name`.
  std::string job(const std::string& name, const std::string& more) const {
    return "train --data digits --limit 600 --batch 50 --model cnn3_tiny --validation 100 --out " + in(name).string() +
           " " + more;
  }
  void expect_same_run(const std::string& a, const std::string& b) const {
    EXPECT_FALSE(contents(in(a) / "metrics.jsonl").empty());
    EXPECT_EQ(contents(in(a) / "metrics.jsonl"), contents(in(b) / "metrics.jsonl"));
    EXPECT_TRUE(contents(in(a) / "model.safetensors") == contents(in(b) / "model.safetensors")) << a << " and " << b;
  }
};

TEST_F(Program, RepeatsMetricsToTheLastDigitOnAnyNumberOfThreads) {
  const std::string options = "--epochs 2 --optimizer adam --input-noise 0.1 --label-noise 0.1 --augment on";
  for (const char* name : {"1", "2", "4"}) EXPECT_EQ(run(job(name, options + " --threads " + name)).status, 0);
  EXPECT_EQ(run(job("again", options)).status, 0);
  for (const char* name : {"2", "4", "again"}) expect_same_run("1", name);
  for (const char* file : {"config.json", "timings.jsonl", "curves.svg", "checkpoint.safetensors", "best.safetensors"})
    EXPECT_TRUE(fs::exists(in("1") / file)) << file;
}

TEST_F(Program, GoesOnAfterAnEpochAsIfUnbroken) {
  for (const std::string optimizer : {"sgd", "adamw", "schedule-free-adamw", "sgd --gradient asam"}) {
    const std::string options = "--schedule constant --overwrite --optimizer " + optimizer;
    EXPECT_EQ(run(job("unbroken", options + " --epochs 3")).status, 0);
    EXPECT_EQ(run(job("broken", options + " --epochs 1")).status, 0);
    EXPECT_EQ(run("train --resume --epochs 3 --out " + in("broken").string()).status, 0);
    expect_same_run("unbroken", "broken");
  }
}

TEST_F(Program, GoesOnWithinAnEpochAsIfUnbroken) {
  const std::string options =
      "--epochs 2 --model lenet_300_100 --schedule cosine --warmup 5 --augment on";  // has batch-norm state
  EXPECT_EQ(run(job("unbroken", options)).status, 0);
  EXPECT_EQ(run(job("broken", options + " --steps 3")).status, 0);
  EXPECT_FALSE(fs::exists(in("broken") / "metrics.jsonl"));
  EXPECT_EQ(run("train --resume --steps 14 --out " + in("broken").string()).status, 0);
  EXPECT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  expect_same_run("unbroken", "broken");
}

TEST_F(Program, CapturedRunsAreTheSame) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  const std::pair<const char*, const char*> runs[] = {
      {"plain", "--model cnn --limit 250 --epochs 2 --augment on"},
      {"smoothed", "--model cnn --limit 250 --epochs 2 --loss squared_error --sigma 0.2 --sigma-decay 0.5"},
      {"bounded", "--objective ibp --eps 0.05 --epochs 3 --eps-start 1 --eps-epochs 1"},
      {"attacked", "--objective pgd --eps 0.05 --epochs 2 --attack-steps 2"},
  };
  for (const auto& [name, options] : runs) {
    const std::string eager = std::string(name) + "-eager";
    const Outcome captured = run(job(name, options)),
                  as_it_is = run(job(eager, std::string(options) + " --no-capture"));
    ASSERT_EQ(captured.status, 0) << captured.error;
    ASSERT_EQ(as_it_is.status, 0) << as_it_is.error;
    expect_same_run(name, eager);
    EXPECT_NE(as_it_is.out.find("without capture"), std::string::npos) << as_it_is.out;
    EXPECT_EQ(captured.out.find("without capture") != std::string::npos, name == std::string("attacked"))
        << captured.out;
  }
  ASSERT_EQ(run(job("broken", "--model cnn --limit 250 --epochs 2 --augment on --steps 4")).status, 0);
  ASSERT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  expect_same_run("plain", "broken");
}

TEST_F(Program, MultipliesByOpenblasWhereItWasBuiltIn) {
  const Outcome outcome = run(job("openblas", "--products openblas --epochs 1 --steps 3"));
  const bool missing = outcome.error.find("mollify train: --products: ") != std::string::npos &&
                       outcome.error.find("libopenblas-dev") != std::string::npos;
  EXPECT_EQ(outcome.status, missing ? 2 : 0) << outcome.error;
}

TEST_F(Program, ComputesOnTheGpuWhereThereIsOne) {
  const Outcome gpu = run(job("gpu", "--device cuda --epochs 1 --steps 3")),
                precise = run(job("cpu", "--precision tf32"));
  EXPECT_EQ(precise.status, 2);
  EXPECT_NE(precise.error.find("mollify train: --precision: tf32 given; the CPU computes in fp32"), std::string::npos)
      << precise.error;
  const bool there = run("info").out.find("none: ") == std::string::npos;
  if (there) {
    ASSERT_EQ(gpu.status, 0) << gpu.error;
    EXPECT_EQ(run("train --resume --device cpu --out " + in("gpu").string()).status, 0);
    EXPECT_EQ(run("eval --device cuda --weights " + (in("gpu") / "model.safetensors").string()).status, 0);
    return;
  }
  EXPECT_FALSE(fs::exists(in("gpu")));
  ASSERT_EQ(run(job("cpu", "--epochs 1 --steps 3")).status, 0);
  const std::string weights = (in("cpu") / "model.safetensors").string();
  const std::vector<std::pair<std::string, std::string>> commands = {
      {"train", " --resume --out " + in("cpu").string()},
      {"eval", " --weights " + weights},
      {"attack", " --eps 0.1 --weights " + weights},
      {"certify", " --eps 0.1 --weights " + weights},
      {"run", " " + weights + " --input none.npy --output none.npy"},
      {"bounds", " " + weights + " --input none.npy --eps 0.1"},
      {"verify", " " + weights + " none.vnnlib"},
      {"reproduce paradox", " --scale tiny --out " + in("paradox").string()}};
  for (const auto& [command, options] : commands) {
    const Outcome refused = run(command + options + " --device cuda");
    EXPECT_EQ(refused.status, 2) << command;
    EXPECT_EQ(refused.error.rfind("mollify " + command + ": --device: cuda given; ", 0), 0u) << refused.error;
  }
}

TEST_F(Program, TrainsSmoothedNetworks) {
  const std::string options =
      "--optimizer adam --loss squared_error --schedule constant --sigma 0.3 --sigma-decay 0.5 --penalty-form split";
  EXPECT_EQ(run(job("unbroken", options + " --epochs 3")).status, 0);
  EXPECT_EQ(run(job("broken", options + " --epochs 1")).status, 0);
  EXPECT_EQ(run("train --resume --epochs 3 --out " + in("broken").string()).status, 0);
  expect_same_run("unbroken", "broken");
  // Both networks are evaluated, by training and by eval, each under its name.
  const json smoothed = last_line(in("unbroken") / "metrics.jsonl");
  EXPECT_NE(smoothed["smoothed_test_loss"], smoothed["test_loss"]);
  const std::string eval = "eval --weights " + (in("unbroken") / "model.safetensors").string();
  const json both = json::parse(run(eval + " --json").out), plain = json::parse(run(eval + " --json --sigma 0").out);
  EXPECT_EQ(both["loss"], smoothed["test_loss"]);
  EXPECT_EQ(both["smoothed"]["loss"], smoothed["smoothed_test_loss"]);
  EXPECT_EQ(both["smoothed"]["accuracy"], smoothed["smoothed_test_accuracy"]);
  EXPECT_EQ(both["smoothed"]["sigma"], 0.3 * 0.25);
  EXPECT_FALSE(plain.contains("smoothed"));
  EXPECT_EQ(json::parse(run(eval + " --json --sigma 0.075").out)["loss"], smoothed["smoothed_test_loss"]);
  EXPECT_NE(run(eval).out.find("smoothed with sigma 0.075"), std::string::npos);
  EXPECT_NE(contents(in("unbroken") / "curves.svg").find("test, smoothed"), std::string::npos);
  EXPECT_EQ(run(job("plain", "--optimizer adam --loss squared_error --schedule constant --epochs 1")).status, 0);
  EXPECT_NE(last_line(in("plain") / "metrics.jsonl")["train_loss"],
            last_line(in("unbroken") / "metrics.jsonl")["train_loss"]);
  const Outcome cross_entropy = run("train --sigma 0.1"),
                batch_norm = run("train --sigma 0.1 --loss squared_error --model lenet_300_100");
  EXPECT_EQ(cross_entropy.status, 2);
  EXPECT_NE(cross_entropy.error.find("--loss squared_error"), std::string::npos) << cross_entropy.error;
  EXPECT_EQ(batch_norm.status, 2);
  EXPECT_NE(batch_norm.error.find("batch norm"), std::string::npos) << batch_norm.error;
}

TEST_F(Program, CertifiedTrainingIsCertifiedMore) {
  const std::string common =
      "train --data digits --limit 4000 --batch 50 --model cnn3_tiny --epochs 2 --optimizer adam --schedule constant "
      "--lr 0.005 ";
  ASSERT_EQ(run(common + "--eps-test 0.05 --out " + in("natural").string()).status, 0);
  const Outcome ibp = run(common + "--objective ibp --eps 0.05 --eps-epochs 1 --out " + in("ibp").string());
  ASSERT_EQ(ibp.status, 0) << ibp.error;
  EXPECT_NE(ibp.out.find("that ibp proves for radius 0.05"), std::string::npos) << ibp.out;
  const json natural = last_line(in("natural") / "metrics.jsonl"), certified = last_line(in("ibp") / "metrics.jsonl");
  EXPECT_GT(certified["certified_accuracy"], natural["certified_accuracy"].get<double>() + 0.2) << certified << natural;
  EXPECT_LE(certified["certified_accuracy"], certified["test_accuracy"]);
  EXPECT_EQ(certified["epsilon"], 0.05);
  EXPECT_FALSE(natural.contains("epsilon"));
  const std::string svg = contents(in("ibp") / "curves.svg");
  expect_well_formed(svg);
  EXPECT_NE(svg.find("certified"), std::string::npos);
}

TEST_F(Program, ObjectivesGoOnAsIfUnbroken) {
  std::vector<std::string> objectives = {"pgd --attack-steps 2",
                                         "ibp --kappa-start 1 --kappa 0.5 --l1 1e-6",
                                         "hbox",
                                         "deepz --fusion",
                                         "crown-ibp --mix 0",
                                         "deeppoly --certify-limit 50",
                                         "alpha-crown --alpha-steps 1 --certify-limit 50",
                                         "sabr --attack-steps 2",
                                         "mtl-ibp --mtl-alpha 0.1 --attack-steps 2"};
  objectives.resize(cases(objectives.size()));
  for (const std::string& objective : objectives) {
    const std::string options =
        "--epochs 3 --eps-start 1 --eps-epochs 1 --limit 160 --overwrite --eps 0.05 --eps-test 0.01 "
        "--objective " +
        objective;
    const Outcome unbroken = run(job("unbroken", options + " --threads 2"));
    EXPECT_EQ(unbroken.status, 0) << unbroken.error;
    EXPECT_EQ(run(job("broken", options + " --threads 1 --steps 3")).status, 0) << objective;  // within the ramp
    EXPECT_EQ(run("train --resume --out " + in("broken").string()).status, 0) << objective;
    expect_same_run("unbroken", "broken");
    EXPECT_TRUE(last_line(in("broken") / "metrics.jsonl").contains("certified_accuracy")) << objective;
  }
}

TEST_F(Program, TrainingForNoiseGoesOnAsIfUnbroken) {
  std::vector<std::string> objectives = {"consistency --noise-draws 2", "smoothadv --l2-steps 2",
                                         "macer --noise-draws 3", "smoothmix --smoothmix-steps 2", "gaussian"};
  objectives.resize(cases(objectives.size()));
  for (const std::string& objective : objectives) {
    const std::string options = "--epochs 2 --limit 160 --overwrite --noise 0.2 --objective " + objective;
    ASSERT_EQ(run(job("unbroken", options + " --threads 2")).status, 0) << objective;
    ASSERT_EQ(run(job("broken", options + " --threads 1 --steps 2")).status, 0) << objective;  // within an epoch
    EXPECT_EQ(run("train --resume --out " + in("broken").string()).status, 0) << objective;
    expect_same_run("unbroken", "broken");
    const json last = last_line(in("broken") / "metrics.jsonl");
    EXPECT_TRUE(last.contains("noisy_test_accuracy")) << last;
    EXPECT_EQ(last.contains("terms"), !objective.starts_with("gaussian") && !objective.starts_with("smoothadv"))
        << last;
  }
}

// Each round's teacher is the last one's network; a run that ended within a round goes on there.
TEST_F(Program, RoundsFollowOneAnother) {
  ASSERT_EQ(run(job("teacher", "--epochs 2")).status, 0);
  const std::string options =
      "--epochs 2 --limit 160 --overwrite --lr 0.001 --noise 0.2 --objective heat --heat-repeats 2 "
      "--heat-rounds 3 --teacher " +
      (in("teacher") / "model.safetensors").string();
  ASSERT_EQ(run(job("unbroken", options)).status, 0);
  ASSERT_EQ(run(job("broken", options + " --steps 2")).status, 0);
  EXPECT_TRUE(fs::exists(in("broken") / "round-1" / "checkpoint.safetensors"));
  EXPECT_FALSE(fs::exists(in("broken") / "round-2"));
  ASSERT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  for (const char* round : {"round-1", "round-2", "round-3"})
    expect_same_run(std::string("unbroken/") + round, std::string("broken/") + round);
  EXPECT_TRUE(contents(in("broken") / "model.safetensors") == contents(in("broken/round-3") / "model.safetensors"));
  const json config = json::parse(contents(in("broken/round-3") / "config.json"));
  EXPECT_EQ(config["teacher"], (in("broken/round-2") / "model.safetensors").string());
  EXPECT_EQ(config["heat-time"], 1.0 / 3);
  EXPECT_TRUE(last_line(in("broken/round-1") / "metrics.jsonl")["terms"].contains("squared_gradient"));
  EXPECT_EQ(run("eval --weights " + (in("broken") / "model.safetensors").string()).status, 0);
  const Outcome again = run(job("broken", "--noise 0.2 --objective heat --teacher x.safetensors"));
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.error.find("holds a run"), std::string::npos) << again.error;
}

TEST_F(Program, OptionsComeFromAFile) {
  std::ofstream(in("run.toml"))
      << "# a run\nobjective = \"ibp\"\neps = 0.05\nepochs = 2\neps-epochs = 1\nlr = 0.01\ncapture = false\n";
  ASSERT_EQ(run(job("file", "--epochs 1 --config " + in("run.toml").string())).status, 0);
  ASSERT_EQ(run(job("line", "--epochs 1 --objective ibp --eps 0.05 --eps-epochs 1 --lr 0.01")).status, 0);
  expect_same_run("file", "line");
  EXPECT_EQ(json::parse(contents(in("file") / "config.json"))["capture"], false);
  for (const auto& [line, fragment] : {std::pair{"wrong = 1", "has wrong; there is no such option"},
                                       {"epochs = -3", "epochs: -3 given; needs at least 1"},
                                       {"eps = 0.1", "it is an option of pgd, ibp"}}) {
    std::ofstream(in("bad.toml")) << line << "\n";
    const Outcome outcome = run(job("bad", "--config " + in("bad.toml").string()));
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.error.find(fragment), std::string::npos) << outcome.error;
  }
  EXPECT_NE(run(job("bad", "--config " + in("none.toml").string())).error.find("cannot be read"), std::string::npos);
}

TEST_F(Program, AnInterruptLeavesARunThatGoesOn) {
  const std::string options = "--epochs 400 --optimizer adam --schedule constant";
  const Child child = start(job("broken", options));
  for (int i = 0; i < 3000 && !fs::exists(in("broken") / "metrics.jsonl"); ++i) usleep(10'000);
  usleep(15'000);
  kill(child.pid, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130);
  EXPECT_NE(outcome.error.find("--resume"), std::string::npos) << outcome.error;
  const int64_t epochs = last_line(in("broken") / "metrics.jsonl")["epoch"].get<int64_t>() + 2;
  EXPECT_EQ(run("train --resume --epochs " + std::to_string(epochs) + " --out " + in("broken").string()).status, 0);
  EXPECT_EQ(run(job("unbroken", options + " --epochs " + std::to_string(epochs))).status, 0);
  expect_same_run("unbroken", "broken");
}

TEST_F(Program, EvaluationAgreesWithTraining) {
  const std::string command = "eval --weights " + (in("run") / "model.safetensors").string();
  for (const std::string optimizer : {"schedule-free-sgd", "sgd"}) {
    ASSERT_EQ(run(job("run", "--epochs 2 --overwrite --optimizer " + optimizer)).status, 0);
    const json last = last_line(in("run") / "metrics.jsonl");
    const Outcome outcome = run(command + " --json");
    ASSERT_EQ(outcome.status, 0) << outcome.error;
    const json result = json::parse(outcome.out);
    EXPECT_EQ(result["accuracy"], last["test_accuracy"]) << optimizer;
    EXPECT_EQ(result["loss"], last["test_loss"]) << optimizer;
    EXPECT_EQ(result["classes"].size(), 10u);
  }
  const Outcome text = run(command);
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.out.find("accuracy"), std::string::npos);
}

TEST_F(Program, EarlyStoppingWatchesTheValidationLoss) {
  const Outcome outcome =
      run(job("run", "--epochs 30 --model linear --lr 1 --momentum 0 --schedule constant --patience 2"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("stopped early"), std::string::npos) << outcome.out;
  EXPECT_LT(last_line(in("run") / "metrics.jsonl")["epoch"], 30);
}

TEST_F(Program, ALossThatIsNoNumberEndsTheRunAndKeepsItsCheckpoint) {
  const std::string options =
      "--loss squared_error --model linear --lr 0.1 --momentum 0 --schedule constant";  // grows some ninefold a step
  ASSERT_EQ(run(job("run", options + " --epochs 1")).status, 0);
  const Outcome grown = run("train --resume --epochs 9 --out " + in("run").string());
  EXPECT_EQ(grown.status, 1);
  EXPECT_EQ(std::count(grown.error.begin(), grown.error.end(), '\n'), 1) << grown.error;
  const Outcome evaluation = run("eval --json --weights " + (in("run") / "model.safetensors").string());
  ASSERT_EQ(evaluation.status, 0) << evaluation.error;
  EXPECT_EQ(json::parse(evaluation.out)["loss"], last_line(in("run") / "metrics.jsonl")["test_loss"]);
  const Outcome fresh = run(job("fresh", "--epochs 3 --loss squared_error --model linear --lr 1e30"));
  EXPECT_EQ(fresh.status, 1);
  EXPECT_EQ(std::count(fresh.error.begin(), fresh.error.end(), '\n'), 1) << fresh.error;
  EXPECT_NE(fresh.error.find("loss"), std::string::npos) << fresh.error;
  EXPECT_EQ(run("eval --weights " + (in("fresh") / "model.safetensors").string()).status, 0)
      << "what is kept are the initial weights";
}

TEST_F(Program, ErrorsAreOneLineAndStatusTwo) {
  ASSERT_EQ(run(job("run", "--epochs 1")).status, 0);
  std::ofstream(in("damaged")) << "not weights";
  const std::string here = in("run").string();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train --epochs -3", "mollify train: --epochs: -3 given; needs at least 1\n"},
      {"train --epochs many", "--epochs: many given"},
      {"train --epochs", "mollify train: --epochs: no value given"},
      {"train --threads 99999999999", "--threads: 99999999999 given"},
      {"train --label-noise 1.5", "--label-noise: 1.5 given; needs from 0 to 1"},
      {"train --lr nan", "--lr: nan given"},
      {"train --model vgg", "--model: vgg given; needs cnn, "},
      {"train --wrong 1", "mollify train: --wrong given"},
      {"train --objective idp", "--objective: idp given; needs natural, pgd, ibp, "},
      {"train --objective ibp", "mollify train: --eps: not given; --objective ibp needs a radius above 0"},
      {"train --objective pgd --eps 0.1 --kappa 0.5",
       "--kappa: 0.5 given with --objective pgd; it is an option of ibp, hbox"},
      {"train --eps 0.1", "--eps: 0.1 given with --objective natural; it is an option of pgd, ibp"},
      {"train --objective ibp --eps 2", "--eps: 2 given; needs from 0 to 1"},
      {"train --objective ibp --eps 0.1 --epochs 4 --eps-epochs 5",
       "--eps-epochs: the radius has grown after 5 epochs; needs at most --epochs, 4"},
      {"train --objective ibp --eps 0.1 --model lenet_300_100 --out " + in("new").string(), "needs a model without"},
      {"train --schedule milestones --milestones 3,x", "--milestones: 3,x given"},
      {"train extra", "mollify train: extra given"},
      {"train --penalty 1e-4", "given without --sigma"},
      {"train --objective ibp --sigma 0.1", "--sigma: 0.1 given with --objective ibp; it is an option of natural"},
      {"train --sigma-decay 0.5", "given without --sigma"},
      {"train --optimizer adam --momentum 0.5", "--momentum"},
      {"train --gradient sam --sam-rho 0", "mollify train: --sam-rho: 0 given; needs above 0\n"},
      {"train --optimizer schedule-free-sgd --model lenet_300_100 --out " + in("new").string(),
       "needs a model without"},
      {"train --patience 2", "needs --validation"},
      {"train --limit 100 --validation 100 --out " + in("new").string(), "--validation: 100 given"},
      {"train --data cifar100 --data-dir /nowhere --out " + in("new").string(), "cifar100"},
      {"train --out " + here, "holds a run"},
      {"train --resume --out " + in("nothing").string(), "--resume"},
      {"train --resume --epochs 2 --out " + here, "--epochs: 2 given; the cosine schedule"},
      {"train --resume --batch 7 --out " + here, "--batch: 7 given; the run in"},
      {"eval", "--weights"},
      {"eval --weights " + in("nothing").string(), "cannot be read"},
      {"eval --weights " + in("damaged").string(), "damaged"},
      {"nonsense", "mollify: nonsense given"},
      {"trian", "(did you mean train?)"},
      {"train --epcohs 3", "(did you mean --epochs?)"},
      {"reproduce paradoks", "(did you mean paradox?)"},
      {"train --objective ibp --eps 8/0", "--eps: 8/0 given; needs a number, from 0 to 1"},
  };
  expect_refused(cases);
}

TEST_F(Program, TellsAboutItself) {
  const Outcome nothing = run(""), help = run("--help"), info = run("info"), version = run("--version"),
                train = run("train --help");
  for (const Outcome& outcome : {nothing, help, info, version, train}) EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_EQ(nothing.out, help.out);
  for (const char* name : {"train", "eval", "info"}) EXPECT_NE(help.out.find(name), std::string::npos) << help.out;
  for (const char* name : {"SIMD", "BLAS", "threads", "models", "mnist"})
    EXPECT_NE(info.out.find(name), std::string::npos) << info.out;
  EXPECT_EQ(version.out.rfind("mollify ", 0), 0u);
  EXPECT_NE(train.out.find("--weight-decay"), std::string::npos) << train.out;
}

// The shell itself is asked what it would complete.
TEST_F(Program, CompletesCommandLinesInBash) {
  std::ofstream(in("ask.sh")) << "source <($1 completion bash)\nshift\nCOMP_WORDS=(\"$@\" '')\nCOMP_CWORD=$#\n"
                                 "[[ ${*: -1} != *- ]] || { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); }\n"
                                 "_mollify\necho \" ${COMPREPLY[*]} \"\n";
  const auto completed = [&](const std::string& line) {
    return finish(start_command("bash " + in("ask.sh").string() + " " + program() + " " + line)).out;
  };
  EXPECT_NE(completed("mollify").find(" train "), std::string::npos);
  EXPECT_NE(completed("mollify reproduce").find(" gls "), std::string::npos);
  EXPECT_NE(completed("mollify train -").find(" --optimizer "), std::string::npos);
  EXPECT_EQ(completed("mollify train -").find(" --points "), std::string::npos) << "an option of landscape";
  EXPECT_NE(completed("mollify train --optimizer").find(" schedule-free-sgd "), std::string::npos);
  EXPECT_NE(completed("mollify attack --norm").find(" l2 "), std::string::npos);
}

// Every option of every command, in requests that troff has.
TEST_F(Program, PrintsAManualOfEveryOption) {
  const std::string page = run("manual").out, fish = run("completion fish").out;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);)
    if (line[0] == '.') {
      const std::string request = line.substr(0, line.find(' '));
      const std::vector<std::string> known = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I"};
      EXPECT_EQ(std::count(known.begin(), known.end(), request), 1) << line;
    }
  for (const char* option : {"optimizer", "noise-batches", "probe-scale", "eigenvalues", "attack-steps"}) {
    std::string escaped = std::string("\\-\\-") + option;
    for (size_t at = 4; (at = escaped.find('-', at + 1)) != std::string::npos; ++at) escaped.replace(at, 1, "\\-");
    EXPECT_NE(page.find(escaped), std::string::npos) << option;
    EXPECT_NE(fish.find(std::string(" -l ") + option + " "), std::string::npos) << option;
  }
  EXPECT_NE(page.find("mollify reproduce gls"), std::string::npos);
}

TEST_F(Program, CurvesAreWellFormed) {
  ASSERT_EQ(run(job("run", "--epochs 2")).status, 0);
  const std::string svg = contents(in("run") / "curves.svg");
  expect_well_formed(svg);
  for (const char* word : {"Loss", "Accuracy", "epoch", "validation", "polyline"})
    EXPECT_NE(svg.find(word), std::string::npos) << word;
}

}  // namespace
