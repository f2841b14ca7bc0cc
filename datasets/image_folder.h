// Folders of JPEG files, decoded as they are asked for. A library built without libturbojpeg refuses them.
#pragma once

#include <mollify/datasets/dataset.h>

#include <filesystem>

#pragma GCC visibility push(default)
namespace mollify::datasets {

// Either split's images are RGB, `size` by `size` pixels; memory holds their names only. The layouts:
//   ImageNet and others: train/<class>/*.JPEG and val/<class>/*.JPEG; test/ where there is no val/
//   TinyImageNet: train/<class>/images/*.JPEG; val/images/*.JPEG with their classes in val/val_annotations.txt
// Files are those that end in .jpg or .jpeg in any case; names that begin with a dot are passed over. Classes are the
// names of train's folders in order. The first image of each class by name comes first, then the second of each, so
// that the first N images have all classes alike; TinyImageNet's test images stand by name. Class names are those that
// words.txt (lines "<class><tab><name>") has for them, else the folders'. `size` 0: 64 for TinyImageNet, 224 for
// others.
// read() gives resize.h's centre_view, read_crop() a random region, each resized with antialiasing. A region's border
// is weighted with what lies around it.
// Throws MissingData where a split is not there, FormatError naming the folder or file for a folder without images, a
// class that is not in train/, and annotations that do not fit the images. Files are opened when their images are read.
Splits read_image_folder(const std::filesystem::path& folder, int64_t size = 0);

}  // namespace mollify::datasets
#pragma GCC visibility pop
