// Labelled images and their batches.
#include "bindings.h"

#include <mollify/datasets/datasets.h>

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

using mollify::datasets::Split;
MOLLIFY_CHOICES(Split, "split", "'train', 'test'", {"train", Split::train}, {"test", Split::test});

namespace mollify::python {
namespace {

using namespace datasets;

nb::tuple tuple_of(const Splits& splits) { return nb::make_tuple(splits.train, splits.test); }

Dataset in_memory_dataset(const Operand& images, const Operand& labels, int64_t classes, const std::string& name) {
  const Tensor x = packed(images.tensor()), y = packed(labels.tensor());
  require(x.rank() == 4 && x.dtype() == DType::u8, "dataset: images {} {} given; needs u8 [N, H, W, C]", x.dtype(),
          x.shape());
  const auto pixels = x.to_vector<uint8_t>();
  Dataset made{.name = name, .height = x.dim(1), .width = x.dim(2), .channels = x.dim(3), .classes = classes};
  made.labels = y.to_vector<int32_t>();
  made.images = in_memory(pixels, made.image_size());
  check("dataset", made);
  return made;
}

// What the loader reads must stay: it holds the dataset, which shares its images.
class LoaderOfPython {
 public:
  LoaderOfPython(const Dataset& dataset, const LoaderOptions& options)
      : dataset_(std::make_unique<Dataset>(dataset)), loader_(*dataset_, options) {}
  Loader& get() { return loader_; }

 private:
  std::unique_ptr<const Dataset> dataset_;
  Loader loader_;
};

nb::object next_batch(LoaderOfPython& self) {
  std::optional<Batch> batch = compute([&] { return self.get().next(); });
  return batch ? nb::cast(std::move(*batch)) : nb::none();
}

Preparation preparation_of(double noise, double label_noise, uint64_t noise_seed, int64_t padding, bool flip,
                           bool resized_crop, std::vector<float> mean, std::vector<float> deviation, uint64_t seed) {
  return {{noise, label_noise, noise_seed}, {padding, flip, resized_crop}, std::move(mean), std::move(deviation), seed};
}

void bind_dataset(nb::module_& m) {
  nb::class_<Dataset>(m, "Dataset", "Labelled images. A copy shares them.")
      .def(
          "__init__",
          [](Dataset* self, const Operand& images, const Operand& labels, int64_t classes, const std::string& name) {
            new (self) Dataset(in_memory_dataset(images, labels, classes, name));
          },
          "images"_a, "labels"_a, "classes"_a, "name"_a = "",
          "Of images u8 [N, H, W, C], which are copied, and labels i32 [N].")
      .def_ro("name", &Dataset::name)
      .def_ro("height", &Dataset::height)
      .def_ro("width", &Dataset::width)
      .def_ro("channels", &Dataset::channels)
      .def_ro("classes", &Dataset::classes)
      .def_ro("class_names", &Dataset::class_names)
      .def_prop_ro(
          "labels", [](const Dataset& d) { return Tensor::from(d.labels, {d.size()}); }, "i32 [N]")
      .def(
          "image",
          [](const Dataset& d, int64_t index) {
            const std::vector<uint8_t> pixels = d.image(index);
            return Tensor::from(pixels, {d.height, d.width, d.channels});
          },
          "index"_a, "u8 [H, W, C]")
      .def("__len__", &Dataset::size)
      .def("__repr__", [](const Dataset& d) {
        return format("<mollify.datasets.Dataset {}: {} images {} x {} x {}, {} classes>", d.name, d.size(), d.height,
                      d.width, d.channels, d.classes);
      });
  m.def(
      "digits",
      [](int64_t count, uint64_t seed, Split split, int64_t first) {
        return compute([&] { return digits(count, seed, split, first); });
      },
      "count"_a, "seed"_a = 0, "split"_a = Split::train, "first"_a = 0,
      "Digits drawn by the program, without a download: a function of the arguments.");
  m.def(
      "load",
      [](const std::string& name, const std::filesystem::path& folder, int64_t extent) {
        return tuple_of(compute([&] { return load(name, folder, extent); }));
      },
      "name"_a, "data_dir"_a = std::filesystem::path(), "extent"_a = 0,
      "(train, test) of digits, mnist, cifar10, cifar100 or a folder of images.",
      nb::sig(
          "def load(name: str, data_dir: str | os.PathLike[str] = '', extent: int = 0) -> tuple[Dataset, Dataset]"));
  m.def(
      "take", [](const Dataset& d, int64_t first, int64_t count) { return take(d, first, count); }, "dataset"_a,
      "first"_a, "count"_a, "Images first … first + count − 1.");
  m.def(
      "split", [](const Dataset& d, int64_t count, uint64_t seed) { return tuple_of(split(d, count, seed)); },
      "dataset"_a, "count"_a, "seed"_a, "(the others, `count` images held out by the seed).",
      nb::sig("def split(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]"));
}

void bind_batches(nb::module_& m) {
  nb::class_<Batch>(
      m, "Batch",
      "Images f32 [B, H, W, C], labels i32 [B] and their numbers in the dataset; unpacks to images and labels.")
      .def_ro("images", &Batch::images)
      .def_ro("labels", &Batch::labels)
      .def_prop_ro("indices", [](const Batch& b) { return Tensor::from(b.indices, {b.size()}); })
      .def("__len__", &Batch::size)
      .def("__iter__", [](const Batch& b) { return nb::iter(nb::make_tuple(b.images, b.labels)); });
  nb::class_<Preparation>(
      m, "Preparation",
      "What happens to an image on its way to a batch: noise, crop and flip, (value − mean)/deviation.")
      .def(
          "__init__",
          [](Preparation* self, double noise, double label_noise, uint64_t noise_seed, int64_t padding, bool flip,
             bool crop, std::vector<float> mean, std::vector<float> deviation, uint64_t seed) {
            new (self) Preparation(preparation_of(noise, label_noise, noise_seed, padding, flip, crop, std::move(mean),
                                                  std::move(deviation), seed));
          },
          "noise"_a = 0.0, "label_noise"_a = 0.0, "noise_seed"_a = 0, "padding"_a = 0, "flip"_a = false,
          "resized_crop"_a = false, "mean"_a = std::vector<float>(), "deviation"_a = std::vector<float>(),
          "seed"_a = 0);
  m.def(
      "make_batch",
      [](const Dataset& d, const Integers& indices, const Preparation* preparation, int64_t epoch) {
        const std::vector<int32_t> which(indices.values.begin(), indices.values.end());
        return compute([&] { return make_batch(d, which, preparation ? *preparation : Preparation{}, epoch); });
      },
      "dataset"_a, "indices"_a, "preparation"_a = nb::none(), "epoch"_a = 0);
  nb::class_<LoaderOfPython>(m, "Loader",
                             "Batches in an order that depends on (seed, epoch) alone. One thread at a time.")
      .def(
          "__init__",
          [](LoaderOfPython* self, const Dataset& dataset, int64_t batch_size, bool shuffle, bool drop_last,
             bool prefetch, uint64_t seed, const Preparation* preparation) {
            new (self) LoaderOfPython(
                dataset, {batch_size, shuffle, drop_last, prefetch, seed, preparation ? *preparation : Preparation{}});
          },
          "dataset"_a, "batch_size"_a = 128, "shuffle"_a = true, "drop_last"_a = false, "prefetch"_a = true,
          "seed"_a = 0, "preparation"_a = nb::none())
      .def(
          "start_epoch",
          [](LoaderOfPython& self, int64_t epoch, int64_t first) {
            compute([&] { return self.get().start_epoch(epoch, first), 0; });
          },
          "epoch"_a, "first_batch"_a = 0)
      .def("next", next_batch, "The next batch; None at the end of the epoch.",
           nb::sig("def next(self) -> Batch | None"))
      .def(
          "epoch",
          [](nb::object self, int64_t epoch) {
            LoaderOfPython& loader = *nb::inst_ptr<LoaderOfPython>(self);
            compute([&] { return loader.get().start_epoch(epoch), 0; });
            return self;
          },
          "epoch"_a, "Starts an epoch: for images, labels in loader.epoch(0).",
          nb::sig("def epoch(self, epoch: int) -> collections.abc.Iterator[Batch]"))
      .def(
          "__iter__", [](nb::object self) { return self; },
          nb::sig("def __iter__(self) -> collections.abc.Iterator[Batch]"))
      .def(
          "__next__",
          [](LoaderOfPython& self) {
            nb::object batch = next_batch(self);
            if (batch.is_none()) throw nb::stop_iteration();
            return batch;
          },
          nb::sig("def __next__(self) -> Batch"))
      .def_prop_ro("batches_per_epoch", [](LoaderOfPython& self) { return self.get().batches_per_epoch(); });
}

}  // namespace

void bind_datasets(nb::module_& m) {
  bind_dataset(m);
  bind_batches(m);
}

}  // namespace mollify::python
