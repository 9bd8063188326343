// floor: ig_data ig_kernels
// Data sets and the loader: forms, parts, splits, bad inputs, order, determinism, augmentation. Rule: trees are
// written by the test itself; what stands in a batch is compared with what was written, or between runs that must
// agree.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "kernels/picture/picture.h"
#include "runtime/base/mem.h"
#include "runtime/data/dataset.h"
#include "runtime/data/loader.h"
#include "runtime/data/loader_aug.h"
#include "runtime/data/resize.h"
#include "tests/image_bytes.h"

namespace fs = std::filesystem;

namespace {

// The columns that the loader fills are those that the op reads.
#define SAME(field) static_assert(static_cast<int>(AUG_##field) == static_cast<int>(IG_AUG_##field), #field)
SAME(TRANSPOSE);
SAME(HFLIP);
SAME(VFLIP);
SAME(BRIGHTNESS);
SAME(CONTRAST);
SAME(SATURATION);
SAME(ERASE_X0);
SAME(ERASE_Y0);
SAME(ERASE_X1);
SAME(ERASE_Y1);
SAME(MIX_MODE);
SAME(LAMBDA);
SAME(CUT_X0);
SAME(CUT_Y0);
SAME(CUT_X1);
SAME(CUT_Y1);
#undef SAME
static_assert(static_cast<int>(AUG_N) == static_cast<int>(IG_N_AUG) && IG_AUG_FIELDS == AUG_N, "columns");
static_assert(static_cast<int>(MIX_MIXUP) == static_cast<int>(IG_MIX_MIXUP) &&
                  static_cast<int>(MIX_CUTMIX) == static_cast<int>(IG_MIX_CUTMIX) &&
                  static_cast<int>(MIX_NONE) == static_cast<int>(IG_MIX_NONE),
              "modes");

void write(const fs::path &p, const std::string &bytes) {
  fs::create_directories(p.parent_path());
  std::ofstream(p, std::ios::binary) << bytes;
}

// A picture of one colour, so that a batch tells which file it came from.
std::string flat(int value, int w = 20, int h = 16) {
  return pic::png(pic::Bytes(static_cast<size_t>(w) * h * 3, static_cast<uint8_t>(value)), w, h);
}

struct Warnings {
  std::vector<std::string> texts;
  static void add(void *user, const char *text) { static_cast<Warnings *>(user)->texts.push_back(text); }
  bool has(const std::string &part) const {
    return std::any_of(texts.begin(), texts.end(), [&](auto &t) { return t.find(part) != std::string::npos; });
  }
};

class Data : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ingot_data_XXXXXX";
    root = mkdtemp(name);
    live = ig_mem_live();
  }
  void TearDown() override {
    ig_dataset_close(d);
    EXPECT_EQ(ig_mem_live(), live);
    fs::remove_all(root);
  }
  // classes x n pictures; colours count up over the whole tree.
  void tree(const fs::path &at, const std::vector<std::string> &classes, int n) {
    for (auto &c : classes)
      for (int i = 0; i < n; i++)
        write(at / c / (std::to_string(i) + ".png"), flat(colour++ % 256));
  }
  ig_status open(const fs::path &at, const char *split = nullptr, const char *val = nullptr) {
    ig_dataset_close(d);
    d = nullptr;
    warnings.texts.clear();
    path = at.string();
    o.size = sizeof o;
    o.data = path.c_str();
    o.split = split;
    o.val = val;
    o.warn = Warnings::add;
    o.warn_user = &warnings;
    return ig_dataset_open(&o, &d);
  }
  void expect_fail(ig_status expected, const std::vector<std::string> &parts, ig_status found) {
    std::string m = ig_error_message();
    EXPECT_EQ(found, expected) << m;
    EXPECT_EQ(d, nullptr);
    for (auto &p : parts)
      EXPECT_NE(m.find(p), std::string::npos) << "no " << p << " in: " << m;
  }
  std::set<std::string> names(ig_part part) const {
    std::set<std::string> s;
    for (size_t i = 0; i < d->count[part]; i++)
      s.insert(d->samples[d->index[part][i]].name);
    return s;
  }
  ig_loader_options loader_options(bool train, int batch, int size = 8) const {
    ig_loader_options l{};
    l.size = sizeof l;
    l.data = d;
    l.part = train ? IG_PART_TRAIN : IG_PART_ALL;
    l.train = train;
    l.batch = batch;
    l.image_size = size;
    l.seed = 3;
    l.threads = 2;
    l.max_unreadable = 0.01;
    return l;
  }

  fs::path root;
  std::string path;
  ig_dataset_options o = [] {
    ig_dataset_options x{};
    x.needs_labels = true;
    return x;
  }();
  ig_dataset *d = nullptr;
  Warnings warnings;
  int colour = 0;
  int64_t live = 0;
};

// Everything of a batch as bytes.
std::string content(const ig_loader_options &o, const ig_batch *b) {
  size_t n = static_cast<size_t>(o.batch);
  std::string s;
  auto add = [&](const void *p, size_t bytes) { s.append(static_cast<const char *>(p), bytes); };
  add(b->pictures, n * o.image_size * o.image_size * 3);
  add(b->labels, n * 4), add(b->second_labels, n * 4), add(b->lam, n * 4), add(b->weights, n * 4);
  add(b->aug, n * 4 * IG_AUG_FIELDS), add(b->partner, n * 4), add(b->samples, n * 8);
  add(&b->n, sizeof b->n), add(&b->epoch, 8), add(&b->position, 8);
  return s;
}

std::vector<std::string> run(const ig_loader_options &o, int batches, int64_t seek = 0) {
  std::vector<std::string> out;
  ig_loader *l;
  EXPECT_EQ(ig_loader_create(&o, &l), IG_OK) << ig_error_message();
  if (seek) {
    EXPECT_EQ(ig_loader_seek(l, seek), IG_OK);
  }
  const ig_batch *b;
  for (int i = 0; i < batches; i++) {
    EXPECT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    if (!b)
      break;
    out.push_back(content(o, b));
  }
  ig_loader_destroy(l);
  return out;
}

ig_augment strong() {
  ig_augment a{};
  a.crop_scale_min = 0.25, a.crop_scale_max = 1;
  a.flip = a.vflip = a.transpose = true;
  a.rotate = 15, a.jitter = 0.4, a.erase = 0.5, a.mixup = 0.2, a.cutmix = 1;
  return a;
}

std::string data_folder() {
  const char *e = getenv("INGOT_DATA"), *s = getenv("INGOT_SOURCE");
  return e ? e : std::string(s ? s : ".") + "/../shared/data";
}

TEST_F(Data, ClassFoldersAreSortedSplitAndFingerprinted) {
  tree(root, {"b", "a", "\xc3\xa4", "Z"}, 10);
  write(root / "a" / "deep" / "er" / "x.JPEG", flat(1));  // content decides, names in any case, any depth
  write(root / "a" / "notes.txt", "x");
  write(root / ".hidden", "x");
  write(root / "list.csv", "x");
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  ASSERT_EQ(d->n_classes, 4);
  EXPECT_STREQ(d->classes[0], "Z");
  EXPECT_STREQ(d->classes[3], "\xc3\xa4");
  EXPECT_EQ(d->n, 41u);
  EXPECT_TRUE(warnings.has("ignored 2 files"));
  EXPECT_EQ(d->count[IG_PART_VAL], 8u);  // 2 of each
  EXPECT_EQ(d->count[IG_PART_TEST], 0u);
  EXPECT_FALSE(d->val_was_given);
  EXPECT_EQ(d->typical_w, 20);
  EXPECT_EQ(d->typical_h, 16);
  int64_t counts[4];
  ig_dataset_class_counts(d, IG_PART_VAL, counts);
  for (int64_t c : counts)
    EXPECT_EQ(c, 2);
  std::string first = d->fingerprint;
  auto val = names(IG_PART_VAL);
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_EQ(first, d->fingerprint);
  EXPECT_EQ(val, names(IG_PART_VAL));
  o.seed = 1;
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_NE(val, names(IG_PART_VAL));
  EXPECT_NE(first, d->fingerprint);
  o.seed = 0;
  write(root / "b" / "0.png", flat(9, 21, 16));
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_NE(first, d->fingerprint);
  ASSERT_EQ(open(root, "0.5"), IG_OK);
  EXPECT_EQ(d->count[IG_PART_VAL], 21u);
  EXPECT_EQ(open(root, "1.5"), IG_ERR_USAGE);
}

TEST_F(Data, FoldersTrainValTestArePartsAndTestNeverMoves) {
  tree(root / "train", {"a", "b"}, 20);
  tree(root / "test", {"a", "b"}, 5);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TEST], 10u);
  EXPECT_EQ(d->count[IG_PART_VAL], 6u);  // 15 % of the training samples
  for (auto &n : names(IG_PART_TEST))
    EXPECT_EQ(n.rfind("test/", 0), 0u) << n;
  for (auto &n : names(IG_PART_VAL))
    EXPECT_EQ(n.rfind("train/", 0), 0u) << n;
  tree(root / "validation", {"a", "b"}, 3);
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_EQ(d->count[IG_PART_VAL], 6u);
  EXPECT_EQ(d->count[IG_PART_TRAIN], 40u);
  EXPECT_TRUE(d->val_was_given);
  tree(root / "test", {"c"}, 2);  // a class that nothing teaches
  expect_fail(IG_ERR_DATA, {"\"c\"", "test part"}, open(root));
  fs::remove_all(root / "test" / "c");
  tree(root / "valid", {"a"}, 2);
  expect_fail(IG_ERR_DATA, {"valid", "validation"}, open(root));
}

TEST_F(Data, AnotherFolderIsTheValidationPart) {
  tree(root / "x", {"a", "b", "train"}, 4);  // a class may be called train
  tree(root / "y", {"a", "b"}, 2);
  std::string val = (root / "y").string();
  ASSERT_EQ(open(root / "x", nullptr, val.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 3);
  EXPECT_EQ(d->count[IG_PART_TRAIN], 12u);
  EXPECT_EQ(d->count[IG_PART_VAL], 4u);
  EXPECT_TRUE(warnings.has("lacks 1 of the 3 classes"));
}

TEST_F(Data, SplitFile) {
  tree(root / "p", {"a", "b"}, 6);
  std::string csv = (root / "s.csv").string(), rows;
  for (int i = 0; i < 6; i++)
    for (std::string c : {"a", "b"})
      rows += "\"p/" + c + "/" + std::to_string(i) + ".png\"," +
              (i < 3   ? "train"
               : i < 4 ? "Val"
                       : "test") +
              ",\"" + c + "\r\n\"\"x\"\"\"\r\n";
  write(csv,
        "\xef\xbb\xbf"
        "path,part,label\r\n" +
            rows + "\r\n");  // BOM, CRLF, quotes within quotes
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TRAIN], 6u);
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  EXPECT_EQ(d->count[IG_PART_TEST], 4u);
  EXPECT_STREQ(d->classes[0], "a\r\n\"x\"");
  write(csv, "file;split\na/0.png;train\na/1.png;train\nb/0.png;train\nb/1.png;train\n");  // below data; class = folder
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_STREQ(d->classes[1], "b");
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);

  auto bad = [&](const std::string &text, const std::vector<std::string> &parts, ig_status s = IG_ERR_FORMAT) {
    write(csv, text);
    SCOPED_TRACE(text);
    expect_fail(s, parts, open(root / "p", csv.c_str()));
  };
  bad("file,file,class\na/0.png,a/1.png,x\n", {"s.csv:1:2", "column \"file\"", "twice"});
  bad("\nfile,class,split,Class\na/0.png,x,train,y\n", {"s.csv:2:4", "column \"Class\"", "twice", "column 2"});
  bad("file,split\na/0.png,train\na/9.png,train\n", {"s.csv:3:1", "a/9.png"}, IG_ERR_DATA);
  bad("file,split\na/0.png,trian\n", {"s.csv:2:2", "trian"});
  bad("file,split\na/0.png\n", {"s.csv:2:1", "header has 2"});
  bad("file,split\na/0.png,train,x\n", {"s.csv:2:3"});
  bad("file,split\n\"a/0.png,train\n", {"s.csv:2:1", "never closed"});
  bad("file,split\n\"a\"b,train\n", {"s.csv:2:1"});
  bad("name,split\na/0.png,train\n", {"file (or path)"});
  bad("file,split,class\na/0.png,train,\n", {"s.csv:2:3", "class"});
  bad("file,split\na/0.png,train\na/0.png,test\n", {"s.csv:3:1", "row 2"}, IG_ERR_DATA);
  bad("", {"empty"});
  bad("file,split,group\na/0.png,train,g1\nb/0.png,test,g1\n", {"s.csv:3:3", "g1", "row 2"}, IG_ERR_DATA);
  fs::remove(csv);
  expect_fail(IG_ERR_NOT_FOUND, {"s.csv"}, open(root / "p", csv.c_str()));
}

TEST_F(Data, GroupsStayWholeWhenAPartIsHeldOut) {
  tree(root, {"a", "b"}, 40);
  std::string csv = (root / "s.csv").string(), text = "file,split,group\n";
  for (int i = 0; i < 40; i++)
    for (std::string c : {"a", "b"})
      text += c + "/" + std::to_string(i) + ".png,train,lot" + std::to_string(i / 4) + "\n";
  write(csv, text);
  ASSERT_EQ(open(root, csv.c_str()), IG_OK) << ig_error_message();
  std::map<std::string, std::set<int>> parts;
  for (size_t i = 0; i < d->n; i++)
    parts[d->samples[i].group].insert(d->samples[i].part);
  EXPECT_EQ(parts.size(), 10u);
  for (auto &p : parts)
    EXPECT_EQ(p.second.size(), 1u) << p.first;
  EXPECT_EQ(d->count[IG_PART_VAL], 16u);
}

TEST_F(Data, BadSets) {
  expect_fail(IG_ERR_NOT_FOUND, {"nowhere"}, open(root / "nowhere"));
  expect_fail(IG_ERR_DATA, {"empty"}, open(root));  // 44
  write(root / "x.png", flat(1));
  expect_fail(IG_ERR_DATA, {"no class folders"}, open(root));
  tree(root, {"a"}, 3);
  expect_fail(IG_ERR_DATA, {"one class", "\"a\""}, open(root));  // 45
  o.allow_one_class = true;
  EXPECT_EQ(open(root), IG_OK) << ig_error_message();
  o.allow_one_class = false;
  fs::create_directories(root / "none");
  tree(root, {"b"}, 3);
  expect_fail(IG_ERR_DATA, {"none", "no picture"}, open(root));  // 46
  fs::remove_all(root / "none");
  write(root / "c" / "0.png", "broken");
  expect_fail(IG_ERR_DATA, {"\"c\"", "no picture"}, open(root));
  fs::remove_all(root / "c");
  const char *classes[] = {"b", "a", "alpha"};
  o.classes = classes;
  o.n_classes = 3;
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->samples[0].label, 1);  // a
  o.classes = classes + 1;
  o.n_classes = 2;
  expect_fail(IG_ERR_MISMATCH, {"\"b\""}, open(root));
}

TEST_F(Data, StrangeFilesAreSkippedAndNamed) {
  tree(root, {"a", "b"}, 4);
  ASSERT_EQ(mkfifo((root / "a" / "pipe.png").c_str(), 0600), 0);
  fs::create_symlink("nothing", root / "a" / "dangling.png");
  fs::create_symlink("loop.png", root / "a" / "loop.png");
  fs::create_symlink("..", root / "a" / "up");
  fs::create_symlink("0.png", root / "a" / "fine.png");
  write(root / "b" / "empty.png", "");
  write(root / "b" / "text.jpg", "hello, this is no picture");
  write(root / "b" / "film.gif", "GIF89a");
  write(root / "b" / "new\nline \xff.png", flat(77));
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 10u);
  EXPECT_EQ(d->n_skipped, 7u);
  for (auto *t : {"pipe.png", "FIFO", "dangling.png", "loop.png", "a/up", "empty.png", "text.jpg", "GIF"})
    EXPECT_TRUE(warnings.has(t)) << t;
  bool strange = false;
  for (size_t i = 0; i < d->n; i++)
    strange |= std::string(d->samples[i].name) == "b/new\nline \xff.png";
  EXPECT_TRUE(strange);
  ASSERT_EQ(run(loader_options(false, 10), 1).size(), 1u);
  // Gone after the scan: the warning quotes the name.
  fs::remove(root / "b" / "new\nline \xff.png");
  auto lo = loader_options(false, 10);
  lo.warn = Warnings::add;
  lo.warn_user = &warnings;
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  EXPECT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
  ig_loader_destroy(l);
  EXPECT_TRUE(warnings.has("new\\x0aline \\xff.png")) << warnings.texts.back();
  o.strict = true;
  expect_fail(IG_ERR_DATA, {"strict=0"}, open(root));
}

TEST_F(Data, UnlabelledFolderAndFile) {
  tree(root, {"a"}, 2);
  write(root / "x.png", flat(5));
  o.needs_labels = false;
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 3u);
  EXPECT_EQ(d->samples[0].label, -1);
  ASSERT_EQ(open(root / "x.png"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 1u);
  EXPECT_STREQ(d->samples[0].name, "x.png");
}

TEST_F(Data, Cifar) {
  auto record = [](int label, int seed, bool coarse) {
    std::string s = coarse ? std::string(1, '\1') : "";
    s += static_cast<char>(label);
    for (int i = 0; i < 3072; i++)
      s += static_cast<char>(i * 7 + seed);
    return s;
  };
  write(root / "data_batch_1.bin",
        record(0, 1, false) + record(9, 2, false) + record(0, 3, false) + record(9, 4, false));
  write(root / "test_batch.bin", record(5, 5, false) + record(0, 5, false));
  o.allow_one_class = true;
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->kind, IG_DATASET_CIFAR10);
  EXPECT_STREQ(d->classes[9], "truck");
  EXPECT_EQ(d->count[IG_PART_TEST], 2u);
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  EXPECT_STREQ(d->samples[1].name, "data_batch_1.bin:1");
  auto lo = loader_options(false, 6, 32);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
  for (int i : {0, 1, 1023})
    for (int c = 0; c < 3; c++)
      EXPECT_EQ(b->pictures[3072 + 3 * i + c], static_cast<uint8_t>((1024 * c + i) * 7 + 2));
  EXPECT_EQ(b->labels[1], 9);
  ig_loader_destroy(l);
  write(root / "batches.meta.txt", "a\nb\nc\n");
  expect_fail(IG_ERR_FORMAT, {"batches.meta.txt", "3 names"}, open(root));
  write(root / "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_STREQ(d->classes[9], "j");
  write(root / "test_batch.bin", record(10, 5, false));
  expect_fail(IG_ERR_DATA, {"record 0", "label 10", "0 to 9"}, open(root));  // 48
  write(root / "test_batch.bin", record(1, 5, false).substr(1));
  expect_fail(IG_ERR_FORMAT, {"3072 bytes", "3073"}, open(root));
  write(root / "c" / "train.bin", record(99, 1, true) + record(3, 2, true));
  ASSERT_EQ(open(root / "c"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->kind, IG_DATASET_CIFAR100);
  EXPECT_EQ(d->samples[0].label, 99);
  write(root / "c" / "train.bin", record(100, 1, true));
  expect_fail(IG_ERR_DATA, {"label 100"}, open(root / "c"));
}

TEST_F(Data, EachEpochHasEachSampleOnceAndOrdersDiffer) {
  tree(root, {"a", "b"}, 17);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 5);
  ig_loader *l;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  uint64_t n = d->count[IG_PART_TRAIN];
  std::vector<uint64_t> seen;
  const ig_batch *b;
  while (seen.size() < 3 * n) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    ASSERT_EQ(b->n, 5);
    ASSERT_EQ(b->position, static_cast<int64_t>(seen.size()));
    ASSERT_EQ(b->epoch, static_cast<int64_t>(seen.size() / n));
    for (int i = 0; i < 5; i++) {
      EXPECT_EQ(b->samples[i], ig_loader_sample_at(l, b->position + i));
      EXPECT_EQ(b->labels[i], d->samples[b->samples[i]].label);
      EXPECT_EQ(d->samples[b->samples[i]].part, IG_PART_TRAIN);
      // Colours count up in the order in which the tree was written: class, then number.
      int number = atoi(fs::path(d->samples[b->samples[i]].path).stem().c_str());
      EXPECT_EQ(b->pictures[i * 8 * 8 * 3], 17 * b->labels[i] + number);
      seen.push_back(b->samples[i]);
    }
  }
  ig_loader_destroy(l);
  std::vector<uint64_t> all(d->index[0], d->index[0] + n), previous;
  for (int e = 0; e < 3; e++) {
    std::vector<uint64_t> epoch(seen.begin() + e * n, seen.begin() + (e + 1) * n), sorted = epoch;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, all);
    EXPECT_NE(epoch, previous);
    previous = epoch;
  }
}

TEST_F(Data, ThreadsCacheAndSeekChangeNothing) {
  for (int i = 0; i < 12; i++)
    for (std::string c : {"a", "b", "c"})
      write(root / c / (std::to_string(i) + ".png"), pic::png(pic::draw(30 + i, 24, 3, i * 3 + c[0]), 30 + i, 24));
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 7, 16);
  lo.augment = strong();
  lo.threads = 1;
  auto expected = run(lo, 12);
  for (int threads = 2; threads <= 4; threads++)
    for (uint64_t cache : {uint64_t(0), uint64_t(20000), uint64_t(1) << 30}) {
      lo.threads = threads;
      lo.cache_bytes = cache;
      EXPECT_EQ(run(lo, 12), expected) << threads << " threads, cache " << cache;
    }
  auto tail = run(lo, 5, 7 * 7);
  EXPECT_EQ(tail, std::vector<std::string>(expected.begin() + 7, expected.end()));
  lo.seed++;
  EXPECT_NE(run(lo, 1)[0], expected[0]);

  ig_loader *l;
  const ig_batch *b;
  lo.seed--;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  for (int round = 0; round < 20; round++) {  // seeking while threads are at work
    ASSERT_EQ(ig_loader_seek(l, (round * 5 % 12) * 7), IG_OK);
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    EXPECT_EQ(content(lo, b), expected[round * 5 % 12]);
  }
  EXPECT_GT(ig_loader_cache_bytes(l), 0u);
  ig_loader_destroy(l);
}

TEST_F(Data, EvaluationIsInOrderPaddedAndExact) {
  pic::Bytes p = pic::draw(40, 30, 3);
  tree(root, {"a"}, 4);
  write(root / "b" / "x.png", pic::png(p, 40, 30));
  ASSERT_EQ(open(root), IG_OK);
  for (uint64_t cache : {0, 1 << 20}) {
    auto lo = loader_options(false, 3, 16);
    lo.augment = strong();  // evaluation takes none of it
    lo.eval_crop_ratio = 0.875;
    lo.cache_bytes = cache;
    ig_loader *l;
    const ig_batch *b;
    ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
    for (int round = 0; round < 3; round++) {
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      EXPECT_EQ(b->n, 3);
      EXPECT_EQ(b->samples[2], 2u);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->n, 2);
      EXPECT_EQ(b->weights[1], 1);
      EXPECT_EQ(b->weights[2], 0);
      EXPECT_EQ(b->labels[1], 1);
      pic::Bytes expected(16 * 16 * 3), loaded(16 * 16 * 3);
      ig_resize r{};
      ASSERT_EQ(ig_resize_eval(&r, p.data(), 40, 30, 18, 16, expected.data()), IG_OK);
      ig_resize_fini(&r);
      EXPECT_EQ(pic::Bytes(b->pictures + 768, b->pictures + 1536), expected);
      ASSERT_EQ(ig_picture_load((root / "b" / "x.png").c_str(), 16, 0.875, loaded.data()), IG_OK);
      EXPECT_EQ(loaded, expected);
      float row[IG_N_AUG];
      ig_aug_neutral(row);
      for (int i = 0; i < 3 * IG_N_AUG; i++)
        EXPECT_EQ(b->aug[i], row[i % IG_N_AUG]);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      EXPECT_EQ(b, nullptr);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);  // stays at its end
      EXPECT_EQ(b, nullptr);
      ASSERT_EQ(ig_loader_seek(l, 0), IG_OK);
    }
    ig_loader_destroy(l);
  }
}

TEST_F(Data, DrawsAreInRangeAndNeutralWhereOff) {
  tree(root, {"a", "b"}, 40);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 16, 32);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  for (int k = 0; k < 8; k++) {
    float row[IG_N_AUG];
    ig_aug_neutral(row);
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    for (int i = 0; i < 16 * IG_N_AUG; i++)
      ASSERT_EQ(b->aug[i], row[i % IG_N_AUG]);
    for (int i = 0; i < 16; i++)
      ASSERT_EQ(b->partner[i], i);
  }
  ig_loader_destroy(l);
  lo.augment = strong();
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  int flips = 0, vflips = 0, turns = 0, erased = 0, modes[3] = {0}, rows = 0;
  for (int k = 0; k < 40; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    std::set<int> partners;
    for (int i = 0; i < 16; i++, rows++) {
      const float *r = b->aug + i * IG_N_AUG;
      turns += r[IG_AUG_TRANSPOSE] == 1, flips += r[IG_AUG_HFLIP] == 1, vflips += r[IG_AUG_VFLIP] == 1;
      for (int f = IG_AUG_BRIGHTNESS; f <= IG_AUG_SATURATION; f++) {
        EXPECT_GE(r[f], 0.6f - 1e-6f);
        EXPECT_LE(r[f], 1.4f + 1e-6f);
      }
      double area = (r[IG_AUG_ERASE_X1] - r[IG_AUG_ERASE_X0]) * (r[IG_AUG_ERASE_Y1] - r[IG_AUG_ERASE_Y0]);
      erased += area > 0;
      EXPECT_LE(area, 0.25 * 32 * 32);
      EXPECT_GE(r[IG_AUG_ERASE_X0], 0);
      EXPECT_LE(r[IG_AUG_ERASE_X1], 32);
      int mode = static_cast<int>(r[IG_AUG_MIX_MODE]);
      ASSERT_TRUE(mode >= 1 && mode <= 2);
      modes[mode]++;
      EXPECT_GE(b->lam[i], 0);
      EXPECT_LE(b->lam[i], 1);
      EXPECT_EQ(b->lam[i], r[IG_AUG_LAMBDA]);
      EXPECT_NE(b->partner[i], i);
      partners.insert(b->partner[i]);
      EXPECT_EQ(b->second_labels[i], b->labels[b->partner[i]]);
      if (mode == IG_MIX_CUTMIX) {
        double cut = (r[IG_AUG_CUT_X1] - r[IG_AUG_CUT_X0]) * (r[IG_AUG_CUT_Y1] - r[IG_AUG_CUT_Y0]);
        EXPECT_NEAR(b->lam[i], 1 - cut / (32 * 32), 1e-6);
        EXPECT_TRUE(r[IG_AUG_CUT_X0] >= 0 && r[IG_AUG_CUT_X1] <= 32 && r[IG_AUG_CUT_Y0] >= 0 && r[IG_AUG_CUT_Y1] <= 32);
      }
    }
    EXPECT_EQ(partners.size(), 16u);  // each is the partner of one
  }
  ig_loader_destroy(l);
  for (int count : {flips, vflips, turns, erased, modes[1], modes[2]})
    EXPECT_NEAR(count, rows / 2, 64);  // 640 coins: five standard deviations
}

TEST_F(Data, CropsAreInsideOfTheShareAndExtremeShapesWork) {
  // A picture whose columns hold their own number: the crop's width shows in the values.
  pic::Bytes p(200 * 200 * 3);
  for (size_t i = 0; i < p.size(); i++)
    p[i] = static_cast<uint8_t>(i / 3 % 200);
  for (int i = 0; i < 4; i++)
    for (std::string c : {"a", "b"})
      write(root / c / (std::to_string(i) + ".png"), pic::png(p, 200, 200));
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 6, 50);
  lo.augment.crop_scale_min = 0.25;
  lo.augment.crop_scale_max = 0.5;
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  std::set<int> lefts;
  for (int k = 0; k < 20; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    for (int i = 0; i < 6; i++) {
      const uint8_t *row = b->pictures + static_cast<size_t>(i) * 7500;
      double width = (row[3 * 49] - row[0]) * 50.0 / 49;
      EXPECT_GE(width, 200 * std::sqrt(0.25 * 0.75) - 4);
      EXPECT_LE(width, 200 * std::sqrt(0.5 * 4 / 3) + 4);
      lefts.insert(row[0]);
    }
  }
  ig_loader_destroy(l);
  EXPECT_GT(lefts.size(), 30u);
  write(root / "a" / "dot.png", flat(9, 1, 1));
  write(root / "b" / "line.png", flat(9, 3000, 1));
  ASSERT_EQ(open(root), IG_OK);
  lo = loader_options(true, 4, 9);
  lo.part = IG_PART_ALL;
  lo.augment = strong();
  EXPECT_EQ(run(lo, 10).size(), 10u);
  lo.train = false;
  lo.eval_crop_ratio = 0.875;
  EXPECT_EQ(run(lo, 10).size(), 3u);
}

TEST_F(Data, SamplesThatTurnBadAreSkippedUntilTheyAreTooMany) {
  tree(root, {"a", "b"}, 150);
  ASSERT_EQ(open(root), IG_OK);
  auto spoil = [&](size_t i) {
    std::string at = d->samples[d->index[0][i]].path;
    if (i % 2)
      fs::resize_file(at, 40);
    else
      fs::remove(at);
  };
  spoil(3), spoil(4);  // of 240: 2 are tolerated
  auto lo = loader_options(true, 30);
  lo.augment.mixup = 1;
  lo.warn = Warnings::add;
  lo.warn_user = &warnings;
  warnings.texts.clear();
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  int zero = 0;
  for (int k = 0; k < 16; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    for (int i = 0; i < 30; i++) {
      if (b->weights[i] != 0) {
        EXPECT_TRUE(b->partner[i] == i || b->weights[b->partner[i]] != 0);
        continue;
      }
      zero++;
      EXPECT_EQ(b->pictures[i * 192], 128);
      EXPECT_EQ(b->aug[i * IG_N_AUG + IG_AUG_MIX_MODE], 0);
      EXPECT_TRUE(b->samples[i] == d->index[0][3] || b->samples[i] == d->index[0][4]);
    }
  }
  EXPECT_EQ(zero, 4);  // two epochs
  EXPECT_EQ(ig_loader_unreadable(l), 2u);
  EXPECT_EQ(warnings.texts.size(), 2u);
  const char *why;
  ig_loader_unreadable_sample(l, 0, &why);
  EXPECT_GT(strlen(why), 5u);
  ig_loader_destroy(l);
  lo.strict = true;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  ig_status s = IG_OK;
  for (int k = 0; k < 9 && s == IG_OK; k++)
    s = ig_loader_next(l, &b);
  EXPECT_EQ(s, IG_ERR_DATA);
  ig_loader_destroy(l);
  lo.strict = false;
  spoil(100);
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  s = IG_OK;
  for (int k = 0; k < 9 && s == IG_OK; k++)
    s = ig_loader_next(l, &b);
  EXPECT_EQ(s, IG_ERR_IO);
  EXPECT_NE(std::string(ig_error_message()).find("3 of 240"), std::string::npos) << ig_error_message();
  EXPECT_NE(std::string(ig_error_message()).find(d->samples[d->index[0][3]].name), std::string::npos);
  ig_loader_destroy(l);
}

TEST_F(Data, WrongExtensionAndLoaderOptions) {
  tree(root, {"a", "b"}, 3);
  write(root / "a" / "z.png", pic::jpeg(pic::draw(20, 20, 3), 20, 20, 3));
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_EQ(d->n, 7u);
  EXPECT_EQ(run(loader_options(false, 7), 2).size(), 1u);
  ig_loader *l;
  auto lo = loader_options(true, 0);
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_USAGE);
  lo = loader_options(true, 2);
  lo.augment.crop_scale_min = 0.9;
  lo.augment.crop_scale_max = 0.5;
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_USAGE);
  lo = loader_options(true, 2);
  lo.part = IG_PART_TEST;
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_DATA);
  EXPECT_EQ(l, nullptr);
}

// Every allocation of opening and of a first batch fails once: an error, no leak, no hang.
TEST_F(Data, AnyAllocationMayFail) {
  tree(root, {"a", "b"}, 3);
  std::string csv = (root / "s.csv").string();
  write(csv, "file,split,group\na/0.png,train,x\na/1.png,train,y\nb/0.png,train,z\nb/1.png,train,w\n");
  for (const char *split : {static_cast<const char *>(nullptr), csv.c_str()}) {
    bool passed = false;
    for (int64_t k = 1; !passed; k++) {
      ASSERT_LT(k, 2000);
      ig_mem_fail_after(k, 0);
      ig_status s = open(root, split);
      ig_mem_fail_after(0, 0);
      ASSERT_TRUE(s == IG_OK || s == IG_ERR_MEMORY) << k << ": " << ig_error_message();
      passed = s == IG_OK;
      EXPECT_EQ(passed, d != nullptr);
    }
  }
  auto lo = loader_options(true, 2);
  lo.threads = 1;
  lo.augment = strong();
  for (int64_t k = 1, good = 0; good < 20; k++) {
    ig_loader *l;
    const ig_batch *b;
    ig_mem_fail_after(k, 0);
    ig_status s = ig_loader_create(&lo, &l);
    if (s == IG_OK)
      s = ig_loader_next(l, &b);
    ig_mem_fail_after(0, 0);
    ASSERT_TRUE(s == IG_OK || s == IG_ERR_MEMORY) << k << ": " << ig_error_message();
    good = s == IG_OK ? good + 1 : 0;
    ig_loader_destroy(l);
    ASSERT_LT(k, 2000);
  }
}

TEST_F(Data, NeuWithItsSplitFile) {
  fs::path at = fs::path(data_folder()) / "neu_cls";
  if (!fs::exists(at / "split.csv"))
    GTEST_SKIP() << at << " is absent";
  std::string csv = (at / "split.csv").string();
  ASSERT_EQ(open(at / "images", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 1800u);
  EXPECT_EQ(d->n_classes, 6);
  EXPECT_STREQ(d->classes[0], "crazing");
  EXPECT_EQ(d->count[IG_PART_TEST], 359u);
  EXPECT_EQ(d->count[IG_PART_VAL], 216u);  // 36 of each class: 15 % of 240 or 241
  EXPECT_EQ(d->count[IG_PART_TRAIN], 1441u - 216u);
  EXPECT_EQ(d->typical_w, 200);
  EXPECT_EQ(d->typical_h, 200);
  for (auto &n : names(IG_PART_TEST))
    EXPECT_EQ(atoi(n.c_str() + n.rfind('_') + 1) % 5, 0) << n;
  for (auto part : {IG_PART_VAL, IG_PART_TRAIN})
    for (auto &n : names(part))
      EXPECT_TRUE(atoi(n.c_str() + n.rfind('_') + 1) % 5 || n.find("patches_105") != std::string::npos) << n;
  auto lo = loader_options(true, 49, 128);  // 25 batches: one epoch
  lo.augment.crop_scale_min = 0.5;
  lo.augment.crop_scale_max = 1;
  lo.threads = 1;
  for (uint64_t cache : {uint64_t(0), uint64_t(1) << 30}) {
    lo.cache_bytes = cache;
    ig_loader *l;
    const ig_batch *b;
    ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
    for (int epoch = 0; epoch < 2; epoch++) {
      clock_t t0 = clock();  // processor time: the machine may be shared
      for (int k = 0; k < 25; k++)
        ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
      printf("NEU at 128, %s, epoch %d: %.0f pictures a processor second\n", cache ? "cache" : "no cache", epoch,
             1225.0 * CLOCKS_PER_SEC / static_cast<double>(clock() - t0));
    }
    EXPECT_EQ(ig_loader_unreadable(l), 0u);
    EXPECT_EQ(ig_loader_cache_bytes(l) > 0, cache > 0);
    ig_loader_destroy(l);
  }
}

TEST_F(Data, DeepPcbFolders) {
  fs::path at = fs::path(data_folder()) / "deeppcb_crops" / "images";
  if (!fs::exists(at))
    GTEST_SKIP() << at << " is absent";
  ASSERT_EQ(open(at), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 7);
  EXPECT_EQ(d->count[IG_PART_TEST], 700u);
  EXPECT_EQ(d->count[IG_PART_VAL], 315u);
  EXPECT_EQ(d->count[IG_PART_TRAIN], 1785u);
  EXPECT_EQ(d->typical_w, 64);
}

TEST_F(Data, CifarTest200) {
  fs::path at = fs::path(data_folder()) / "cifar10_exact200" / "test200.bin";
  if (!fs::exists(at))
    GTEST_SKIP() << at << " is absent";
  ASSERT_EQ(open(at), IG_OK) << ig_error_message();
  int64_t counts[10], expected[10] = {21, 17, 28, 25, 14, 22, 14, 17, 26, 16};
  ig_dataset_class_counts(d, IG_PART_ALL, counts);
  for (int c = 0; c < 10; c++)
    EXPECT_EQ(counts[c], expected[c]);
  EXPECT_STREQ(d->classes[7], "horse");
  auto lo = loader_options(false, 200, 32);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
  std::ifstream f(at, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(f)), {});
  for (size_t i = 0; i < 200; i++) {
    ASSERT_EQ(b->labels[i], bytes[i * 3073]);
    for (size_t k = 0; k < 3072; k++)
      ASSERT_EQ(b->pictures[i * 3072 + k], static_cast<uint8_t>(bytes[i * 3073 + 1 + k % 3 * 1024 + k / 3]));
  }
  ig_loader_destroy(l);
}

}  // namespace
