// floor: ig_data
// Which turns would confuse classes. Rule: pictures are drawn here, so that the answer is known.
#include "runtime/data/direction.h"

#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/base/fileop.h"

namespace {

using Pixel = std::function<int(int x, int y, int i)>;  // gray 0..255 of picture i

const int SIDE = 64, N = 12;

// A data set of classes a, b, ... with N pictures each.
class Data {
 public:
  explicit Data(const std::vector<Pixel> &classes) {
    char folder[] = "/tmp/ingot-direction-XXXXXX";
    root = mkdtemp(folder);
    for (size_t c = 0; c < classes.size(); c++) {
      const std::string name = root + "/" + (char)('a' + c);
      EXPECT_EQ(ig_make_dirs(name.c_str()), IG_OK);
      for (int i = 0; i < N; i++)
        write(name + "/" + std::to_string(i) + ".bmp", [&](int x, int y) { return classes[c](x, y, i); });
    }
    ig_dataset_options o = {};
    o.size = sizeof o;
    o.data = root.c_str();
    o.needs_labels = true;
    EXPECT_EQ(ig_dataset_open(&o, &set), IG_OK) << ig_error_message();
  }
  ~Data() {
    ig_dataset_close(set);
    EXPECT_EQ(ig_remove_tree(root.c_str()), IG_OK);
  }
  ig_directions directions(int threads = 2) const {
    ig_directions d;
    EXPECT_EQ(ig_dataset_directions(set, threads, &d), IG_OK);
    return d;
  }
  std::string root;
  ig_dataset *set = nullptr;

 private:
  static void write(const std::string &path, const std::function<int(int, int)> &gray) {
    std::vector<uint8_t> rgb((size_t)SIDE * SIDE * 3);
    for (int i = 0; i < SIDE * SIDE; i++)
      for (int c = 0; c < 3; c++)
        rgb[(size_t)(3 * i + c)] = (uint8_t)gray(i % SIDE, i / SIDE);
    const std::vector<uint8_t> bytes = bmp(rgb);
    EXPECT_EQ(ig_file_write_atomic(path.c_str(), bytes.data(), bytes.size()), IG_OK);
  }
  // 24 bits, rows from the bottom.
  static std::vector<uint8_t> bmp(const std::vector<uint8_t> &rgb) {
    std::vector<uint8_t> b(54, 0);
    const auto put = [&](size_t at, uint32_t v) {
      for (int k = 0; k < 4; k++)
        b[at + (size_t)k] = (uint8_t)(v >> 8 * k);
    };
    b[0] = 'B', b[1] = 'M';
    put(2, (uint32_t)(54 + rgb.size()));
    put(10, 54);
    put(14, 40);
    put(18, SIDE);
    put(22, SIDE);
    put(26, 1 | 24 << 16);
    for (int y = SIDE - 1; y >= 0; y--)
      for (int x = 0; x < SIDE; x++)
        for (int c = 2; c >= 0; c--)
          b.push_back(rgb[(size_t)((y * SIDE + x) * 3 + c)]);
    return b;
  }
};

// Texture without a direction, another one each picture.
int noise(int x, int y, int i) {
  uint32_t h = (uint32_t)x * 73856093u ^ (uint32_t)y * 19349663u ^ (uint32_t)i * 83492791u;
  h = (h ^ h >> 13) * 0x5bd1e995u;
  return 100 + (int)((h ^ h >> 15) % 60);
}
int stripes(int along, int i) { return 120 + 60 * ((along / 4 + i) % 2); }

TEST(Directions, NothingInTextures) {
  const Data data({noise, [](int x, int y, int i) { return noise(x, y, i + 50) / 2; }});
  const ig_directions d = data.directions();
  EXPECT_EQ(d.flip.a, nullptr);
  EXPECT_EQ(d.vflip.a, nullptr);
  EXPECT_EQ(d.transpose.a, nullptr);
}

TEST(Directions, RowsAndColumns) {
  const Data data(
      {[](int, int y, int i) { return stripes(y, i); }, [](int x, int, int i) { return stripes(x, i); }, noise});
  for (int threads : {1, 2}) {
    const ig_directions d = data.directions(threads);
    ASSERT_NE(d.transpose.a, nullptr);
    EXPECT_EQ(std::string(d.transpose.a) + d.transpose.b, "ba");
    EXPECT_EQ(d.vflip.a, nullptr);
  }
}

// Only one of the classes has a direction: turned, it looks like none of the others.
TEST(Directions, OneClassAlone) {
  const Data data({[](int, int y, int i) { return stripes(y, i); }, noise});
  EXPECT_EQ(data.directions().transpose.a, nullptr);
}

TEST(Directions, UpAndDownLeftAndRight) {
  const auto spot = [](int cx, int cy) {
    return [=](int x, int y, int i) {
      return noise(x, y, i) + ((x - cx) * (x - cx) + (y - cy) * (y - cy) < 90 + i ? 90 : 0);
    };
  };
  const Data updown({spot(32, 12), spot(32, 52)}), sides({spot(10, 32), spot(54, 32)});
  EXPECT_NE(updown.directions().vflip.a, nullptr);
  EXPECT_EQ(updown.directions().flip.a, nullptr);
  EXPECT_NE(sides.directions().flip.a, nullptr);
  EXPECT_EQ(sides.directions().vflip.a, nullptr);
}

}  // namespace
