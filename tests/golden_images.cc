// Golden case images: decoding, evaluation and crop transforms byte for byte, and the normalised values after them.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "runtime/data/image.h"
#include "runtime/data/resize.h"
#include "tests/golden.h"
#include "tests/st_reader.h"

namespace {

using Bytes = std::vector<uint8_t>;

Bytes slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

// [side, side, 3] as found to the fixtures' [3, side, side]; flip: mirrored left-right.
Bytes planar(const Bytes &found, int side, bool flip) {
  Bytes out(found.size());
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < side; y++)
      for (int x = 0; x < side; x++)
        out[((size_t)c * side + y) * side + x] = found[((size_t)y * side + (flip ? side - 1 - x : x)) * 3 + c];
  return out;
}

void run(const std::string &path, golden::Report &r) {
  st::File decoded(path + "/decoded.safetensors"), transformed(path + "/transformed.safetensors");
  json_error_t e;
  json_t *root = json_load_file((path + "/images.json").c_str(), 0, &e), *row;
  if (!r.check("images.json", root != nullptr, e.text))
    return;
  auto number = [](json_t *o, const char *k) { return (int)json_integer_value(json_object_get(o, k)); };
  const int resize = number(root, "resize"), crop = number(root, "crop"), small = number(root, "random_crop_size");
  ig_resize ws{};
  ig_image image{};
  size_t i;
  json_array_foreach(json_object_get(root, "images"), i, row) {
    const std::string name = json_string_value(json_object_get(row, "file"));
    const Bytes file = slurp(path + "/" + name);
    if (!r.ok(name, ig_image_decode(file.data(), file.size(), nullptr, &image)))
      continue;
    const st::Tensor &want = decoded.at(name);
    if (!r.check(name + ".size", image.h == want.shape[0] && image.w == want.shape[1]))
      continue;
    r.compare(name, Bytes(image.data, image.data + want.count()), want.bytes, {0, 0});
    Bytes eval((size_t)crop * crop * 3), cut((size_t)small * small * 3);
    r.ok(name + ".eval", ig_resize_eval(&ws, image.data, image.w, image.h, resize, crop, eval.data()));
    eval = planar(eval, crop, false);
    r.compare(name + ".eval", eval, transformed.at(name + ".eval").bytes, {0, 0});
    json_t *box = json_object_get(row, "crop_box");
    const ig_rect rect = {number(box, "left"), number(box, "top"), number(box, "width"), number(box, "height")};
    r.ok(name + ".crop",
         ig_resize_run(&ws, image.data, image.w, image.h, rect, small, small, nullptr, cut.data(), (size_t)small * 3));
    r.compare(name + ".crop", planar(cut, small, json_is_true(json_object_get(row, "flip"))),
              transformed.at(name + ".crop").bytes, {0, 0});
    json_t *normalized = json_object_get(row, "eval_normalized");
    std::vector<double> mean, want_mean, first, want_first;
    for (size_t c = 0; c < 3; c++) {
      const double m = json_number_value(json_array_get(json_object_get(root, "mean"), c));
      const double s = json_number_value(json_array_get(json_object_get(root, "std"), c));
      const size_t n = (size_t)crop * crop;
      double sum = 0;
      for (size_t k = 0; k < n; k++)
        sum += (eval[c * n + k] / 255.0 - m) / s;
      mean.push_back(sum / (double)n);
      want_mean.push_back(json_number_value(json_array_get(json_object_get(normalized, "mean"), c)));
      for (size_t k = 0; c == 0 && k < json_array_size(json_object_get(normalized, "first8")); k++) {
        first.push_back((eval[k] / 255.0 - m) / s);
        want_first.push_back(json_number_value(json_array_get(json_object_get(normalized, "first8"), k)));
      }
    }
    r.compare(name + ".mean", mean, want_mean, {1e-5, 0});
    r.compare(name + ".first8", first, want_first, {1e-5, 0});
  }
  ig_resize_fini(&ws);
  ig_image_fini(&image);
  json_decref(root);
}

}  // namespace

GOLDEN_CASE("images", run)
