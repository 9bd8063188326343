// floor: ig_data ig_kernels
// Data sets: forms, parts, splits, bad inputs, the real ones. Rule: trees are written by the test itself.
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

#include "runtime/data/dataset.h"
#include "runtime/data/loader.h"
#include "tests/dataset_tree.h"

using namespace dataset_tree;

namespace {

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
  tree(root, {"classq"}, 8);
  write(root / "lone.png", flat(1));
  write(root / "list.csv", "x");
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.has("ignored 1 folder beside train, val and test (first: \"classq\"); to use its pictures"));
  EXPECT_TRUE(warnings.has("ignored 1 picture outside of class folders (first: \"lone.png\")"));
  EXPECT_TRUE(warnings.has("ignored 1 file that is no picture by its name (first: \"list.csv\")"));
  tree(root / "valid", {"a"}, 2);
  expect_fail(IG_ERR_DATA, {"valid", "validation"}, open(root));
  tree(root / "sets" / "Training_Set", {"a", "b"}, 4);  // else two classes, Training_Set and testset
  tree(root / "sets" / "testset", {"a", "b"}, 3);
  ASSERT_EQ(open(root / "sets"), IG_OK) << ig_error_message();
  EXPECT_EQ(std::string(d->classes[0]), "a");
  EXPECT_EQ(d->count[IG_PART_TEST], 6u);
  tree(root / "no", {"asset", "onset", "set", "_set", "backtest"}, 2);
  ASSERT_EQ(open(root / "no"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 5);
}

TEST_F(Data, ClassesThatCannotBeMeasuredAreTold) {
  tree(root, {"a", "b"}, 10);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_FALSE(warnings.has("says nothing of them"));
  tree(root, {"rare", "solo"}, 1);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_VAL], 4u);
  EXPECT_TRUE(warnings.has("lacks 2 of the 4 classes (the first is \"rare\")"));
}

TEST_F(Data, FoldersThatPeopleTakeForOneClassAreTold) {
  tree(root, {"a", "b"}, 4);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_FALSE(warnings.has("learned as two"));
  tree(root, {"A"}, 4);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 3);
  EXPECT_TRUE(warnings.has("classes \"A\" and \"a\" are learned as two"));
}

TEST_F(Data, FoldersOfRunsAreNoClasses) {
  auto run_in = [&](const fs::path &at) {
    write(at / "args.yaml", "model: x\n");
    fs::create_directories(at / "checkpoints" / "step-3");
    write(at / "report.html", "x");
  };
  tree(root, {"a", "b"}, 4);
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  const std::string before = d->fingerprint;
  run_in(root / "out");
  run_in(root / "runs" / "1");
  run_in(root / "runs" / "2");
  run_in(root / "a" / "deep");
  fs::create_directories(root / "started" / "checkpoints");  // killed before it wrote anything
  ASSERT_EQ(open(root), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 2);
  EXPECT_EQ(before, d->fingerprint);
  EXPECT_TRUE(warnings.has("ignored 4 folders of runs (first: \"a/deep\")"));
  EXPECT_FALSE(warnings.has("no picture")) << warnings.texts[0];
  const std::string csv = (root / "s.csv").string();
  std::string list = "file,split\n";
  for (int i = 0; i < 4; i++)
    list += "a/" + std::to_string(i) + ".png,train\nb/" + std::to_string(i) + ".png,train\n";
  write(csv, list);
  write(root / "out" / "curve.png", flat(1));
  ASSERT_EQ(open(root, csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_FALSE(warnings.has("not listed"));
  fs::create_directories(root / "none" / "checks");
  expect_fail(IG_ERR_DATA, {"\"none\"", "no picture"}, open(root));
  // Beside parts.
  const fs::path parts = root / "parts";
  tree(parts / "train", {"a", "b"}, 4);
  run_in(parts / "runs" / "1");
  ASSERT_EQ(open(parts), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 2);
  EXPECT_EQ(names(IG_PART_TRAIN).count("train/a/0.png") + names(IG_PART_VAL).count("train/a/0.png"), 1u);
  EXPECT_TRUE(warnings.has("ignored 1 folder of a run (first: \"runs\")"));
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

TEST_F(Data, AValidationPartThatIsLearnedFromIsTold) {
  for (const char *part : {"train", "val"})
    tree(root / "x" / part, {"a", "b"}, 3);
  std::string train = (root / "x" / "train").string(), val = (root / "x" / "val").string();
  ASSERT_EQ(open(root / "x", nullptr, val.c_str()), IG_OK) << ig_error_message();  // its own part
  EXPECT_EQ(d->count[IG_PART_VAL], 6u);
  EXPECT_FALSE(warnings.has("has been learned"));
  ASSERT_EQ(open(root / "x", nullptr, train.c_str()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.has("samples of files of data=, too: 6 of 6 (the first: \"a/0.png\")"));
  tree(root / "y", {"a", "b"}, 1);
  std::filesystem::create_symlink(root / "x/train/b/1.png", root / "y/b/9.png");
  val = (root / "y").string();
  ASSERT_EQ(open(root / "x", nullptr, val.c_str()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.has("samples of files of data=, too: 1 of 3 (the first: \"b/9.png\")"));
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
  EXPECT_FALSE(warnings.has("is not read"));
  write(csv, "file,split,diagnosis\na/0.png,train,x\na/1.png,train,y\nb/0.png,train,x\nb/1.png,train,y\n");
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_STREQ(d->classes[1], "b");
  EXPECT_TRUE(warnings.has("the classes are the names of the files' folders; its column \"diagnosis\" is not read"));

  write(csv, "file,split\na//0.png,train\na/.//1.png,train\nb/0.png,train\nb/1.png,train\n");
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_STREQ(d->classes[0], "a");

  auto bad = [&](const std::string &text, const std::vector<std::string> &parts, ig_status s = IG_ERR_FORMAT) {
    write(csv, text);
    SCOPED_TRACE(text);
    expect_fail(s, parts, open(root / "p", csv.c_str()));
  };
  bad("file,file,class\na/0.png,a/1.png,x\n", {"s.csv:1:2", "column \"file\"", "twice"});
  bad("\nfile,class,split,Class\na/0.png,x,train,y\n", {"s.csv:2:4", "column \"Class\"", "twice", "column 2"});
  bad("file,split\na/0.png,train\na/9.png,train\n", {"s.csv:3:1", "a/9.png"}, IG_ERR_DATA);
  bad("file,split\na/0.png,train\na\\1.png,train\n", {"s.csv:3:1", "a\\1.png", "separated by /"}, IG_ERR_DATA);
  bad("file,split\na/0.png,trian\n", {"s.csv:2:2", "trian"});
  bad("file,split\na/0.png\n", {"s.csv:2:1", "header has 2"});
  bad("file,split\na/0.png,train,x\n", {"s.csv:2:3"});
  bad("file,split\n\"a/0.png,train\n", {"s.csv:2:1", "never closed"});
  bad("file,split\n\"a\"b,train\n", {"s.csv:2:1"});
  bad("name,split\na/0.png,train\n", {"file (or path)"});
  bad("file,split,class\na/0.png,train,\n", {"s.csv:2:3", "class"});
  bad("file,split\na/0.png,train\na/0.png,test\n", {"s.csv:3:1", "row 2"}, IG_ERR_DATA);
  // ... by whatever way it is named: one picture must not stand in two parts.
  for (std::string way :
       {"./a/0.png", "a//0.png", "a/./0.png", "a/../a/0.png", "b/.././a/0.png", "p/a/0.png", "c/0.png"}) {
    fs::remove(root / "p" / "c");
    fs::create_directory_symlink("a", root / "p" / "c");
    bad("file,split\na/0.png,train\na/1.png,train\n" + way + ",test\n",
        {"s.csv:4:1", "row 2 already as \"a/0.png\"", "list each file once"}, IG_ERR_DATA);
    fs::remove(root / "p" / "c");
  }
  bad("", {"empty"});
  bad("file,split,class\n", {"s.csv is empty", "a header and no row"}, IG_ERR_DATA);
  bad("file,split,group\na/0.png,train,g1\nb/0.png,test,g1\n", {"s.csv:3:3", "g1", "row 2"}, IG_ERR_DATA);
  fs::remove(csv);
  expect_fail(IG_ERR_NOT_FOUND, {"s.csv"}, open(root / "p", csv.c_str()));
}

TEST_F(Data, SplitFileWithBlanksBesideItsCommas) {
  tree(root / "p", {"a", "b"}, 4);
  write(root / "p" / "a" / " 0.png", flat(1));  // a name may have them
  const std::string csv = (root / "s.csv").string();
  write(csv,
        "file, split , class, group\n a/0.png,  train,x , g1\na/1.png, train,x,g1\nb/0.png\t, train, y,g2\n"
        "b/1.png ,val,y, g3\na/ 0.png, test, x, g4\n");
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 2);
  EXPECT_STREQ(d->classes[0], "x");
  EXPECT_EQ(d->count[IG_PART_TRAIN], 3u);
  EXPECT_EQ(names(IG_PART_VAL), (std::set<std::string>{"b/1.png"}));
  EXPECT_EQ(names(IG_PART_TEST), (std::set<std::string>{"a/ 0.png"}));
  EXPECT_STREQ(d->samples[d->index[IG_PART_VAL][0]].group, "g3");
  EXPECT_FALSE(warnings.has("none of its columns"));
  write(csv, "file,class\np/a/0.png,\" x\"\np/a/1.png,\" x\"\np/b/0.png,y\np/b/1.png,y\n");  // quotes keep them
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
  EXPECT_STREQ(d->classes[0], " x");
  EXPECT_TRUE(warnings.has("s.csv: none of its columns (\"file\", \"class\") is split or part"));
  ASSERT_EQ(open(csv), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.has("none of its columns"));
  ASSERT_EQ(open(csv, "0.5"), IG_OK) << ig_error_message();  // asked for
  EXPECT_FALSE(warnings.has("none of its columns"));
}

TEST_F(Data, NamesOfClassesAreUtf8) {
  tree(root / "p", {"a", "b", "caf\xe9"}, 4);
  expect_fail(IG_ERR_DATA, {"class folder \"caf\\xe9\"", "not UTF-8", "caf\\xe9/0.png", "rename"}, open(root / "p"));
  o.inspect = true;  // a report tells it and goes on
  ASSERT_EQ(open(root / "p"), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.has("class folder \"caf\\xe9\""));
  EXPECT_EQ(d->n_classes, 3);
  o.inspect = false;
  std::string csv = (root / "s.csv").string();
  auto bad = [&](const std::string &text, const std::vector<std::string> &parts, ig_status s = IG_ERR_FORMAT) {
    write(csv, text);
    SCOPED_TRACE(text);
    expect_fail(s, parts, open(root / "p", csv.c_str()));
  };
  bad("file,split,class\na/0.png,train,x\na/1.png,train,caf\xe9\n",
      {"s.csv:3:3", "class \"caf\\xe9\"", "not UTF-8", "save the file as UTF-8"});
  bad("file,split\na/0.png,train\ncaf\xe9/1.png,train\n", {"s.csv:3:", "caf\\xe9/1.png", "rename the folder"},
      IG_ERR_DATA);
  bad("file,label\na/0.png,x\na/1.png,x;caf\xe9\n", {"s.csv:3:2", "label \"caf\\xe9\"", "save the file as UTF-8"});
  o.task = IG_TASK_REGRESS;
  bad("file,gr\xf6\xdf\x65\na/0.png,1\na/1.png,2\n", {"s.csv", "column 2", "gr\\xf6\\xdfe", "save the file as UTF-8"});
  o.task = IG_TASK_AUTO;
  write(csv, "file,split,class\na/0.png,train,caf\u00e9\na/1.png,train,x\n");
  ASSERT_EQ(open(root / "p", csv.c_str()), IG_OK) << ig_error_message();
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
  EXPECT_EQ(std::string(ig_error_message()).find("name it by data="), std::string::npos);
  tree(root / "deep" / "set", {"a", "b"}, 3);
  expect_fail(IG_ERR_DATA, {"one class", "\"set\"", "name it by data="}, open(root / "deep"));
  fs::remove_all(root / "deep");
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
