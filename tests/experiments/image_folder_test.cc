// The program on a folder of images that the test writes.
#include "../datasets/jpeg_files.h"
#include "program.h"

namespace {

using namespace program_tests;
using mollify::datasets::jpeg;
using mollify::datasets::waves;

class ImageFolder : public program_tests::ProgramTest {
 protected:
  void SetUp() override {
    program_tests::ProgramTest::SetUp();
    if (IsSkipped()) return;
    for (const char* name : {"train/ant", "train/bee", "val/ant", "val/bee"}) {
      fs::create_directories(in("images") / name);
      const bool bee = std::string(name).ends_with("bee");
      for (uint32_t i = 0; i < 8; ++i) {
        const int height = 20 + 3 * static_cast<int>(i);
        const mollify::datasets::Bytes file = jpeg(waves(height, 30, i + (bee ? 9 : 0)), height);
        std::ofstream(in("images") / name / (std::to_string(i) + ".JPEG"), std::ios::binary)
            .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
      }
    }
  }
  std::string images() const { return " --data-dir " + in("images").string() + " "; }
  std::string job(const std::string& name, const std::string& more) const {
    return "train --data folder --image-size 16 --model cnn3_tiny --batch 5 --out " + in(name).string() + images() +
           more;
  }
};

TEST_F(ImageFolder, IsTrainedOnAndEvaluatedInTheSizeOfTheNetwork) {
  const Outcome trained = run(job("run", "--epochs 2"));
  ASSERT_EQ(trained.status, 0) << trained.error;
  EXPECT_NE(trained.out.find("16 training"), std::string::npos) << trained.out;
  const std::string weights = " --weights " + (in("run") / "model.safetensors").string() + images();
  const Outcome evaluated = run("eval --json" + weights);
  ASSERT_EQ(evaluated.status, 0) << evaluated.error;
  const json result = json::parse(evaluated.out), last = last_line(in("run") / "metrics.jsonl");
  EXPECT_EQ(result["images"], 16);
  EXPECT_EQ(result["accuracy"], last["test_accuracy"]);
  EXPECT_EQ(result["loss"], last["test_loss"]);
  EXPECT_EQ(result["classes"][1]["name"], "bee");
  for (const std::string& command : {"attack --eps 0.01 --images 3 --out " + in("attack").string(),
                                     "certify --eps 0.001 --images 3 --out " + in("certify").string(),
                                     "landscape --batch 4 --points 3 --samples 4 --out " + in("landscape").string()}) {
    const Outcome outcome = run(command + weights);
    EXPECT_EQ(outcome.status, 0) << command << ": " << outcome.error;
  }
}

TEST_F(ImageFolder, RunsAreTheSameOnAnyNumberOfThreadsAndAfterAnInterruption) {
  ASSERT_EQ(run(job("one", "--epochs 2 --schedule constant --threads 1")).status, 0);
  ASSERT_EQ(run(job("two", "--epochs 2 --schedule constant --threads 2")).status, 0);
  ASSERT_EQ(run(job("broken", "--epochs 2 --schedule constant --steps 2")).status, 0);
  ASSERT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  ASSERT_EQ(run(job("still", "--epochs 2 --schedule constant --augment off")).status, 0);
  const std::string weights = contents(in("one") / "model.safetensors");
  EXPECT_TRUE(weights == contents(in("two") / "model.safetensors"));
  EXPECT_TRUE(weights == contents(in("broken") / "model.safetensors"));
  EXPECT_FALSE(weights == contents(in("still") / "model.safetensors"));
}

TEST_F(ImageFolder, IsWhatHeatSmoothingIsReproducedOn) {
  const Outcome outcome =
      run("reproduce heat --scale tiny --data folder --image-size 16 --limit 12 --test-limit 6 --top 1 "
          "--rounds 1 --repeats 1 --draws 2 --out " +
          in("heat").string() + images());
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("cnn3_tiny on folder: 12 training images, 6 test images"), std::string::npos);
  expect_refused(
      {{"reproduce heat --scale tiny --data folder --limit 12 --test-limit 6 --out " + in("no").string() + images(),
        "--top: 5 given; needs fewer than the 2 classes"}});
}

TEST_F(ImageFolder, FaultsAreOneLineThatNamesTheFile) {
  expect_refused({{"train --image-size 32", "mollify train: --image-size: 32 given with digits; needs --data folder"},
                  {"train --data folder --image-size 0", "--image-size: 0 given; needs from 1 to 4096"},
                  {"train --data folder", "folder: no folder given"},
                  {"train --data folder --data-dir " + in("none").string(), "train is not in " + in("none").string()}});
  ASSERT_EQ(run(job("run", "--epochs 1")).status, 0);
  std::ofstream(in("images") / "val/bee/3.JPEG") << "no image";
  const Outcome evaluated = run("eval --weights " + (in("run") / "model.safetensors").string() + images());
  EXPECT_EQ(evaluated.status, 2);
  EXPECT_EQ(std::count(evaluated.error.begin(), evaluated.error.end(), '\n'), 1) << evaluated.error;
  EXPECT_NE(evaluated.error.find("val/bee/3.JPEG: "), std::string::npos) << evaluated.error;
}

}  // namespace
