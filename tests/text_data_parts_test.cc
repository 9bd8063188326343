// floor: ig_data
// Labelled texts: folders, parts, groups and the fingerprint over them. Rule: files are written by the test itself;
// texts and parts are compared with what was written.
#include <set>

#include "tests/text_data_fixture.h"

namespace {

TEST_F(TextData, FilesNamedAsParts) {
  put("s/train.tsv",
      rows("sentence\tlabel", 10, [](int i) { return "t" + std::to_string(i) + "\t" + std::to_string(i % 2); }));
  put("s/dev.tsv", "label\tsentence\n1\tv\n0\tw\n");  // in another order
  put("s/test.tsv", "index\tsentence\n0\tx\n");
  put("s/categories.json", "[1]");
  put("s/README.md", "x");
  ASSERT_EQ(open((root / "s").string()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TRAIN], 10u);
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  EXPECT_EQ(d->count[IG_PART_TEST], 0u);
  EXPECT_TRUE(d->val_was_given);
  EXPECT_TRUE(warned("test.tsv has no labels"));
  EXPECT_EQ(first(d->index[IG_PART_VAL][0]), "v");
  EXPECT_EQ(label(d->index[IG_PART_VAL][0]), "1");
  o.needs_labels = false;  // prediction takes all
  ASSERT_EQ(open((root / "s").string()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TEST], 1u);
  EXPECT_EQ(d->samples[d->index[IG_PART_TEST][0]].label, -1);
  o.needs_labels = true;
  put("s/val.csv", "text,label\na,1\n");
  refuse(IG_ERR_DATA, {"dev.tsv", "val.csv", "both the val part"}, open((root / "s").string()));
  fs::remove(root / "s/val.csv");
  put("s/dev.tsv", "sentence\nv\n");
  refuse(IG_ERR_DATA, {"dev.tsv:1:1", "no column holds the label", "\"sentence\"", "expected label"},
         open((root / "s").string()));
  put("s/dev.tsv", "sentence\tlabel\nv\t2\n");
  refuse(IG_ERR_DATA, {"class \"2\"", "validation part", "none in the training part"}, open((root / "s").string()));
  put("s/dev.tsv", "sentence1\tsentence2\tlabel\nv\tw\t1\n");
  refuse(IG_ERR_MISMATCH, {"dev.tsv:1:1", "found two texts a row", "s/train.tsv\" has one"},
         open((root / "s").string()));
  put("n/all.csv", "text,label\na,1\n");
  refuse(IG_ERR_DATA, {"named as a part", "data=", "n/all.csv"}, open((root / "n").string()));
  fs::create_directories(root / "e");
  refuse(IG_ERR_DATA, {"is empty", "found no text"}, open((root / "e").string()));
}

TEST_F(TextData, ClassFoldersOfTextFiles) {
  for (std::string part : {"train", "test"})
    for (std::string c : {"pos", "neg"})
      for (int i = 0; i < 5; i++)
        put("f/" + part + "/" + c + "/" + std::to_string(i) + ".txt",
            "\xef\xbb\xbf" + part + " " + c + "\nline " + std::to_string(i));
  put("f/train/pos/empty.txt", " \n");
  put("f/train/pos/wide.txt", std::string("\xff\xfe"
                                          "a\0b\0",
                                          6));
  put("f/train/pos/notes.md", "x");
  ASSERT_EQ(open((root / "f").string()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 20u);
  EXPECT_EQ(d->n_skipped, 2u);
  EXPECT_TRUE(warned("empty.txt") && warned("the text is empty"));
  EXPECT_TRUE(warned("UTF-16"));
  EXPECT_TRUE(warned("1 file that is no text by its name"));
  EXPECT_EQ(d->count[IG_PART_TEST], 10u);
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);  // 15 % of 5 of each class
  size_t i = d->index[IG_PART_TEST][0];
  EXPECT_EQ(first(i), "test neg\nline 0");
  EXPECT_EQ(label(i), "neg");
  o.strict = true;
  refuse(IG_ERR_DATA, {"empty.txt", "cannot be used"}, open((root / "f").string()));
  o.strict = false;
  // The same texts listed by a split file.
  put("f/split.csv", "path,class,split\ntrain/pos/0.txt,p,train\ntrain/neg/0.txt,n,train\ntest/neg/1.txt,n,val\n");
  std::string split = (root / "f/split.csv").string();
  ASSERT_EQ(open(split), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_VAL], 1u);
  EXPECT_EQ(first(d->index[IG_PART_VAL][0]), "test neg\nline 1");
  o.split = split.c_str();
  ASSERT_EQ(open((root / "f").string()), IG_OK) << ig_error_message();
  EXPECT_EQ(classes(), (Strings{"n", "p"}));
  o.split = nullptr;
  fs::remove_all(root / "f/train/neg");
  put("f/train/neg/x.txt", "");
  refuse(IG_ERR_DATA, {"neg", "none in the training part"}, open((root / "f").string()));
  fs::remove_all(root / "f/test");
  refuse(IG_ERR_DATA, {"\"neg\"", "holds no text"}, open((root / "f").string()));
}

TEST_F(TextData, PartsGroupsAndOtherFiles) {
  std::string all = rows("text,label,split,group", 6, [](int i) {
    return "t,c" + std::to_string(i % 2) + "," + (i < 4 ? "train" : "val") + ",g" + std::to_string(i);
  });
  ASSERT_EQ(open("m.csv", all), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  EXPECT_STREQ(d->samples[3].group, "g3");
  std::string split = put("m2.csv", all);
  o.split = split.c_str();
  ASSERT_EQ(open(root.string()), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  EXPECT_FALSE(warned("none of its columns"));
  put("m2.csv", "text, label, split\n t , x, train\nu,y,train\nv, x , val\n");  // blanks beside the commas
  ASSERT_EQ(open(root.string()), IG_OK) << ig_error_message();
  EXPECT_EQ(classes(), (Strings{"x", "y"}));
  EXPECT_EQ(d->count[IG_PART_VAL], 1u);
  EXPECT_EQ(first(0), " t ");
  put("m2.csv", "text,label,set\na,x,val\nb,y,train\nc,x,train\nd,y,train\n");
  ASSERT_EQ(open(root.string()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("m2.csv: none of its columns (\"text\", \"label\", \"set\") is split or part"));
  o.split = nullptr;
  refuse(IG_ERR_DATA, {"m.csv:9:4", "group \"g0\"", "val part", "train part", "row 2"},
         open("m.csv", all + "\nt,c0,val,g0\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:8:3", "part \"tain\" is unknown"}, open("m.csv", all + "t,c0,tain,g9\n"));
  // A column `part` that names no parts is none.
  ASSERT_EQ(open("m.csv", "part,text,label\nvalve,a,x\npump,b,y\nvalve,c,x\npump,d,y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_VAL], 2u);
  // val=
  std::string val = put("v.tsv", "label\ttext\nx\te\n");
  o.val = val.c_str();
  ASSERT_EQ(open("m.csv", "text,label\na,x\nb,y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TRAIN], 2u);
  EXPECT_EQ(d->count[IG_PART_VAL], 1u);
  EXPECT_EQ(first(d->index[IG_PART_VAL][0]), "e");
  val = data = put("m.csv", "text,label\na,x\nb,y\n");
  o.val = val.c_str();
  ASSERT_EQ(open(data), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("samples of files of data=, too: 2 of 2"));
  o.val = "/nowhere/v.csv";
  refuse(IG_ERR_NOT_FOUND, {"val=", "/nowhere/v.csv"}, open(data));
  o.val = nullptr;
  o.seed = 5;
  // Held out by class, the same each time.
  auto many =
      rows("text,label", 100, [](int i) { return "t" + std::to_string(i) + "," + (i % 10 ? "often" : "rare"); });
  ASSERT_EQ(open("m.csv", many), IG_OK);
  EXPECT_EQ(d->count[IG_PART_VAL], 20u);
  int64_t counts[2];
  ig_dataset_class_counts(d, IG_PART_VAL, counts);
  EXPECT_EQ(counts[1], 2);
  Strings held;
  for (size_t i = 0; i < 20; i++)
    held.push_back(first(d->index[IG_PART_VAL][i]));
  std::string before = d->fingerprint;
  fs::create_directories(root / "moved");
  ASSERT_EQ(open("moved/m.csv", many), IG_OK);
  EXPECT_EQ(before, d->fingerprint);
  for (size_t i = 0; i < 20; i++)
    EXPECT_EQ(held[i], first(d->index[IG_PART_VAL][i]));
}

TEST_F(TextData, FingerprintIsOfTextsLabelsAndParts) {
  std::set<std::string> prints;
  o.allow_one_class = true;
  for (auto &s : {"text,label\nab,x\nc,y\n", "text,label\nab,x\nd,y\n", "text,label\na,x\nbc,y\n",
                  "text,label\nab,y\nc,x\n", "text,label,split\nab,x,train\nc,y,test\n",
                  "text,text2,label\nab,q,x\nc,q,y\n", "text,text2,label\nab,q,x\nc,r,y\n"}) {
    ASSERT_EQ(open("m.csv", s), IG_OK) << ig_error_message();
    prints.insert(d->fingerprint);
  }
  EXPECT_EQ(prints.size(), 7u);
}

}  // namespace
