// floor: ig_data
// Labelled texts: every form, what is refused and in which words. Rule: files are written by the test itself; texts and
// labels are compared with what was written.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/data/dataset.h"
#include "runtime/data/text_quality.h"

namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

class TextData : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ingot_text_XXXXXX";
    root = mkdtemp(name);
    live = ig_mem_live();
    o.size = sizeof o;
    o.text = o.needs_labels = true;
    o.warn_user = this;
    o.warn = [](void *user, const char *text) { static_cast<TextData *>(user)->warnings.push_back(text); };
  }
  void TearDown() override {
    ig_dataset_close(d);
    EXPECT_EQ(ig_mem_live(), live);
    fs::remove_all(root);
  }
  std::string put(const std::string &name, const std::string &bytes) {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << bytes;
    return (root / name).string();
  }
  ig_status open(const std::string &path) {
    ig_dataset_close(d);
    d = nullptr;
    warnings.clear();
    data = path;
    o.data = data.c_str();
    return ig_dataset_open(&o, &d);
  }
  ig_status open(const std::string &name, const std::string &bytes) { return open(put(name, bytes)); }
  void refuse(ig_status expected, const Strings &parts, ig_status found) {
    std::string m = ig_error_message();
    EXPECT_EQ(found, expected) << m;
    EXPECT_EQ(d, nullptr);
    for (auto &p : parts)
      EXPECT_NE(m.find(p), std::string::npos) << "no " << p << " in: " << m;
  }
  bool warned(const std::string &part) const {
    return std::any_of(warnings.begin(), warnings.end(), [&](auto &t) { return t.find(part) != std::string::npos; });
  }
  std::string first(size_t i) const { return std::string(d->texts[i].first, d->texts[i].n_first); }
  std::string second(size_t i) const { return std::string(d->texts[i].second, d->texts[i].n_second); }
  std::string label(size_t i) const { return d->classes[d->samples[i].label]; }
  Strings classes() const { return Strings(d->classes, d->classes + d->n_classes); }
  std::string words(size_t i) const {
    std::string s;
    for (size_t k = 0; k < d->texts[i].n_words; k++)
      s += (k ? " " : "") + std::string(d->texts[i].words[k]) +
           (d->texts[i].word_labels ? "/" + std::string(d->classes[d->texts[i].word_labels[k]]) : "");
    return s;
  }

  fs::path root;
  std::string data;
  ig_dataset_options o{};
  ig_dataset *d = nullptr;
  Strings warnings;
  int64_t live = 0;
};

std::string data_folder() {
  const char *e = getenv("INGOT_DATA"), *s = getenv("INGOT_SOURCE");
  return e ? e : std::string(s ? s : ".") + "/../shared/data";
}

// n rows by a function of the row.
template <class F>
std::string rows(const std::string &header, int n, F row) {
  std::string s = header + "\n";
  for (int i = 0; i < n; i++)
    s += row(i) + "\n";
  return s;
}

TEST_F(TextData, CsvKeepsATextAndNamesItsLine) {
  std::string csv = "\xef\xbb\xbftext,label\r\nplain,a\r\n\"two\r\nlines, \"\"quoted\"\"\",b\r\n\r\n";
  csv += "bad \xff\xc3 utf8,a\r\n";
  csv += std::string("nul\0byte", 8) + ",b\r\nin \"the\" middle,a\r\n\" blank \",b";
  ASSERT_EQ(open("m.csv", csv), IG_OK) << ig_error_message();
  EXPECT_EQ(d->kind, IG_DATASET_TEXT);
  EXPECT_EQ(d->task, IG_TASK_CLASSIFY);
  ASSERT_EQ(d->n, 6u);
  EXPECT_EQ(classes(), (Strings{"a", "b"}));
  EXPECT_EQ(first(0), "plain");
  EXPECT_EQ(first(1), "two\r\nlines, \"quoted\"");
  EXPECT_EQ(first(2), "bad \ufffd\ufffd utf8");
  EXPECT_EQ(first(3), "nul\ufffdbyte");
  EXPECT_EQ(d->texts[2].n_invalid, 2u);
  EXPECT_EQ(d->texts[3].n_invalid, 1u);
  EXPECT_EQ(d->n_invalid, 3u);
  EXPECT_EQ(first(4), "in \"the\" middle");
  EXPECT_EQ(first(5), " blank ");
  Strings names, labels;
  for (size_t i = 0; i < d->n; i++) {
    names.push_back(d->samples[i].name);
    labels.push_back(label(i));
    EXPECT_EQ(d->texts[i].second, nullptr);
    EXPECT_EQ(d->samples[i].path, data);
  }
  EXPECT_EQ(names, (Strings{"m.csv:2", "m.csv:3", "m.csv:6", "m.csv:7", "m.csv:8", "m.csv:9"}));
  EXPECT_EQ(labels, (Strings{"a", "b", "a", "b", "a", "b"}));
}

TEST_F(TextData, DelimitersOfACsvAreTheHeaders) {
  for (char c : {';', '\t', ','}) {
    std::string s = "label|sentence\nx|one\ny|\"a|b\"\n";
    std::replace(s.begin(), s.end(), '|', c);
    ASSERT_EQ(open("m.csv", s), IG_OK) << ig_error_message();
    ASSERT_EQ(d->n, 2u);
    EXPECT_EQ(first(1), std::string("a") + c + "b");
  }
}

TEST_F(TextData, TsvAsGlueWritesIt) {
  ASSERT_EQ(open("m.tsv", "sentence\tlabel\n\" it 's \"\" good\t1\nbad \" one\t0\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(first(0), "\" it 's \"\" good");  // quotes are text
  EXPECT_EQ(first(1), "bad \" one");
  EXPECT_EQ(classes(), (Strings{"0", "1"}));
  // CoLA: no header.
  ASSERT_EQ(open("c.tsv", "gj04\t1\t\tOur friends came.\ngj04\t0\t*\tThey came friends.\nr-67\t1\t\tOne more\n"), IG_OK)
      << ig_error_message();
  ASSERT_EQ(d->n, 3u);
  EXPECT_EQ(first(0), "Our friends came.");
  EXPECT_EQ(label(0), "1");
  EXPECT_EQ(label(1), "0");
  EXPECT_STREQ(d->samples[0].name, "c.tsv:1");
  // Quotes hold where the rows would be ragged without.
  ASSERT_EQ(open("q.tsv", "text\tlabel\n\"two\nlines\ttab\"\ta\nplain\tb\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(first(0), "two\nlines\ttab");
}

TEST_F(TextData, JsonLinesAndArrays) {
  std::string lines = R"({"text": "a \"q\" \\ \/ \n \u00e9 \ud83d\ude00 \ud83d x \u0000!", "label": "p"})"
                      "\r\n\n"
                      R"({"id": 7, "extra": {"deep": [1, {"x": "]}"}]}, "label": "n", "text" : "other order"})"
                      "\n";
  lines += "{\"text\":\"raw \xff byte\",\"label\":\"p\",\"n\":[1,[2]],\"b\":null}";
  ASSERT_EQ(open("m.jsonl", lines), IG_OK) << ig_error_message();
  ASSERT_EQ(d->n, 3u);
  EXPECT_EQ(first(0), "a \"q\" \\ / \n \xc3\xa9 \xf0\x9f\x98\x80 \ufffd x \ufffd!");
  EXPECT_EQ(d->texts[0].n_invalid, 2u) << "half a pair, and NUL";
  EXPECT_EQ(first(1), "other order");
  EXPECT_EQ(first(2), "raw \ufffd byte");
  EXPECT_EQ(d->n_invalid, 3u);
  EXPECT_STREQ(d->samples[1].name, "m.jsonl:3");
  EXPECT_EQ(label(1), "n");
  ASSERT_EQ(open("m.json", " [ {\"sentence\": \"x\",\n \"label\": 1},\n{\"sentence\": \"y\", \"label\": 0} ]\n"), IG_OK)
      << ig_error_message();
  EXPECT_EQ(label(0), "1");
  // A list of names is multilabel.
  ASSERT_EQ(open("l.jsonl", rows("{\"text\": \"t\", \"label\": []}", 20,
                                 [](int i) {
                                   return "{\"text\": \"t\", \"label\": [" +
                                          std::string(i % 2 ? "\"b\", \"a\"" : "\"a\"") + "]}";
                                 })),
            IG_OK)
      << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_MULTILABEL);
  EXPECT_EQ(classes(), (Strings{"a", "b"}));
  EXPECT_EQ(d->targets[0] + d->targets[1], 0);
  EXPECT_EQ(d->targets[4] + d->targets[5], 2);
}

TEST_F(TextData, JsonThatIsNone) {
  struct {
    const char *text;
    Strings parts;
  } bad[] = {{"{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\" \"label\"", {"m.jsonl:2:", "expected , or }"}},
             {"{\"text\": \"a", {":1:12:", "never closed"}},
             {"{\"text\": \"a\n\"}", {":1:12:", "line break"}},
             {"{\"text\": \"\\x\"}", {"unknown escape"}},
             {"{\"text\": \"\\u12g4\"}", {"four hexadecimal digits"}},
             {"{\"text\": 01}", {"malformed number"}},
             {"{\"text\": nul}", {"expected a value"}},
             {"{\"text\": \"a\", \"text\": \"b\"}", {"\"text\"", "twice"}},
             {"{\"text\" \"a\"}", {"expected : after a key"}},
             {"{text: 1}", {"key in quotes"}},
             {"{\"a\": [[}]}", {"bracket"}},
             {"{\"a\": [[1", {"ends within"}},
             {"[{\"text\": \"a\", \"label\": \"x\"}", {"never closed"}},
             {"[{\"text\": \"a\", \"label\": \"x\"},]", {"expected an object"}},
             {"[{\"text\": \"a\", \"label\": \"x\"}] 1", {"after the array"}},
             {"\"text\"", {"expected an object"}},
             {"{}", {"no keys"}},
             {"{\"text\": 5, \"label\": \"x\"}", {"column \"text\"", "expected a text in quotes"}},
             {"{\"text\": \"a\", \"label\": \"x\"}\n{\"label\": \"x\"}", {":2:", "no text by this key"}},
             {"{\"text\": \"a\", \"label\": {\"x\": 1}}", {"expected a label"}},
             {"{\"text\": \"a\", \"label\": [1, 2]}", {"expected a label"}},
             {"{\"text\": \"a\", \"label\": [\"x\", 2]}", {"texts alone"}},
             {"{\"text\": \"a\", \"label\": [\"x;y\"]}", {"a ; in the name"}},
             {"{\"text\": \"a\", \"label\": null}\n{\"text\": \"b\", \"label\": \"x\"}", {":1:", "expected a class"}}};
  for (auto &c : bad) {
    SCOPED_TRACE(c.text);
    refuse(IG_ERR_FORMAT, c.parts, open("m.jsonl", c.text));
  }
  refuse(IG_ERR_FORMAT, {"nested more than 64"}, open("m.jsonl", "{\"a\": " + std::string(100, '[')));
  refuse(IG_ERR_DATA, {"m.jsonl", "empty"}, open("m.jsonl", "\n \n"));
  refuse(IG_ERR_DATA, {"m.jsonl", "empty"}, open("m.jsonl", "[]"));
}

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

TEST_F(TextData, Columns) {
  struct {
    const char *header, *row, *text, *second, *label;
  } good[] = {{"sentence1,sentence2,label", "a,b,x", "a", "b", "x"},
              {"text,text2,class", "a,b,x", "a", "b", "x"},
              {"index,sentence,category", "7,a,x", "a", nullptr, "x"},
              {"note,label", "a,x", "a", nullptr, "x"},   // the only one left is the text
              {"Text,intent", "a,x", "a", nullptr, "x"},  // ... or the label
              {"id,message,target,group", "1,a,x,", "a", nullptr, "x"}};
  for (auto &c : good) {
    SCOPED_TRACE(c.header);
    o.allow_one_class = true;
    ASSERT_EQ(open("m.csv", std::string(c.header) + "\n" + c.row + "\n"), IG_OK) << ig_error_message();
    EXPECT_EQ(first(0), c.text);
    EXPECT_EQ(label(0), c.label);
    ASSERT_EQ(d->texts[0].second != nullptr, c.second != nullptr);
    if (c.second) {
      EXPECT_EQ(second(0), c.second);
    }
  }
  const std::string qqp = "id,question1,question2,is_duplicate\n1,a,b,0\n2,c,d,1\n";
  refuse(IG_ERR_DATA,
         {"m.csv:1:1", "column holds the text", "\"question1\", \"question2\", \"is_duplicate\"", "text_column="},
         open("m.csv", qqp));
  o.text_column = "question1";
  o.text2_column = "question2";
  ASSERT_EQ(open("m.csv", qqp), IG_OK) << ig_error_message();  // one is left
  EXPECT_EQ(second(1), "d");
  EXPECT_EQ(label(1), "1");
  o.text2_column = nullptr;
  refuse(IG_ERR_DATA, {"column holds the label is not clear", "label_column="}, open("m.csv", qqp));
  const char *columns[] = {"is_duplicate", "question1", "is_duplicat"};
  o.columns = columns;
  o.n_columns = 1;
  ASSERT_EQ(open("m.csv", qqp), IG_OK) << ig_error_message();
  EXPECT_EQ(d->texts[1].second, nullptr);
  o.columns = columns + 1;
  refuse(IG_ERR_USAGE, {"\"question1\"", "both"}, open("m.csv", qqp));
  o.columns = columns + 2;
  refuse(IG_ERR_DATA, {"no column \"is_duplicat\"", "label_column=", "did you mean is_duplicate"}, open("m.csv", qqp));
  o.columns = nullptr;
  o.n_columns = 0;
  o.text_column = "question3";
  refuse(IG_ERR_DATA, {"no column \"question3\"", "text_column=", "did you mean question1"}, open("m.csv", qqp));
  o.text_column = o.text2_column = "question1";
  refuse(IG_ERR_USAGE, {"the same column"}, open("m.csv", qqp));
  o.text_column = o.text2_column = nullptr;
  refuse(IG_ERR_DATA, {"column holds the text is not clear", "first row must hold the names"},
         open("m.csv", "good film,1,x\nbad film,0,y\n"));
}

TEST_F(TextData, LabelsByNameAndNumber) {
  auto csv = rows("text,label", 12, [](int i) { return "t," + std::to_string(i); });
  ASSERT_EQ(open("m.csv", csv), IG_OK);
  EXPECT_EQ(d->n_classes, 12);
  EXPECT_STREQ(d->classes[2], "2");  // by value, not 0 1 10 11 2
  EXPECT_EQ(d->samples[10].label, 10);
  const char *names[] = {"neg", "pos", "so"};
  o.classes = names;
  o.n_classes = 3;
  o.allow_one_class = true;
  ASSERT_EQ(open("m.csv", "text,label\na,1\nb,0\nc,so\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->samples[0].label, 1);
  EXPECT_EQ(d->samples[1].label, 0);
  EXPECT_EQ(d->samples[2].label, 2);
  EXPECT_STREQ(d->classes[1], "pos");
  refuse(IG_ERR_MISMATCH, {"label 3", "m.csv:3", "out of range", "3 classes, 0 to 2"},
         open("m.csv", "text,label\na,1\nb,3\n"));
  refuse(IG_ERR_MISMATCH, {"class \"poss\"", "m.csv:3", "did you mean pos"},
         open("m.csv", "text,label\na,1\nb,poss\n"));
}

TEST_F(TextData, NumbersAndSeveralLabels) {
  o.task = IG_TASK_REGRESS;
  ASSERT_EQ(open("m.csv", rows("text,score", 40, [](int i) { return "t," + std::to_string(i * 0.25); })), IG_OK)
      << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_REGRESS);
  EXPECT_EQ(classes(), (Strings{"score"}));
  EXPECT_FLOAT_EQ(d->targets[7], 1.75f);
  EXPECT_EQ(d->samples[7].label, -1);
  for (auto &bad : {"x", "nan", "1e400", ""})
    refuse(IG_ERR_FORMAT, {"m.csv:3:2", "\"score\"", "a finite number"},
           open("m.csv", std::string("text,score\nt,1\nt,") + bad + "\n"));
  refuse(IG_ERR_DATA, {"nothing to learn"}, open("m.csv", "text,score\nt,1\nt,1\n"));
  refuse(IG_ERR_DATA, {"task=regress", "column of labels"}, open("m.csv", "text\nt\n"));
  o.task = IG_TASK_AUTO;
  ASSERT_EQ(open("m.jsonl", rows("{\"text\": \"t\", \"label\": 0.5}", 20,
                                 [](int i) { return "{\"text\": \"t\", \"label\": " + std::to_string(i) + "}"; })),
            IG_OK);
  EXPECT_EQ(d->task, IG_TASK_REGRESS);
  const char *columns[] = {"rude", "late"};
  o.columns = columns;
  o.n_columns = 2;
  ASSERT_EQ(open("m.csv", rows("text,late,rude", 40,
                               [](int i) { return "t," + std::to_string(i % 2) + "," + std::to_string(i % 3 == 0); })),
            IG_OK)
      << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_MULTILABEL);
  EXPECT_EQ(classes(), (Strings{"rude", "late"}));
  EXPECT_EQ(d->targets[2 * 3 + 0], 1);
  EXPECT_EQ(d->targets[2 * 3 + 1], 1);
  o.task = IG_TASK_MULTILABEL;
  refuse(IG_ERR_FORMAT, {"m.csv:3:2", "\"late\"", "0 or 1"}, open("m.csv", "text,late,rude\nt,1,0\nt,2,0\n"));
}

TEST_F(TextData, WordsWithTags) {
  const std::string conll =
      "\xef\xbb\xbf-DOCSTART- -X- O O\r\n\r\nEU NNP B-NP B-ORG\r\nrejects VBZ B-VP O\r\n\r\n\r\n"
      "Peter NNP I-NP B-PER\nBlackburn NNP I-NP I-PER\n";
  ASSERT_EQ(open("m.conll", conll), IG_OK) << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_TAG);
  ASSERT_EQ(d->n, 2u);
  EXPECT_EQ(classes(), (Strings{"B-ORG", "B-PER", "I-PER", "O"}));
  EXPECT_EQ(words(0), "EU/B-ORG rejects/O");
  EXPECT_EQ(words(1), "Peter/B-PER Blackburn/I-PER");
  EXPECT_STREQ(d->samples[1].name, "m.conll:7");
  EXPECT_EQ(d->samples[1].label, -1);
  o.task = IG_TASK_TAG;
  ASSERT_EQ(open("m.tsv", "New York\tB\nis\tO\n\nbig\tO\n"), IG_OK) << ig_error_message();  // cut at tabs
  EXPECT_EQ(words(0), "New York/B is/O");
  ASSERT_EQ(open("m.txt", "a B\nb O\n"), IG_OK) << ig_error_message();
  refuse(IG_ERR_DATA, {"task=tag", "m.csv"}, open("m.csv", "text,label\na,b\n"));
  refuse(IG_ERR_FORMAT, {"m.conll:3:1", "found 1 column;", "first line has 2"}, open("m.conll", "a B\nb O\nc\n"));
  refuse(IG_ERR_FORMAT, {"m.conll:1:1", "one column"}, open("m.conll", "a\nb\n"));
  refuse(IG_ERR_FORMAT, {"m.conll:2:2", "NUL"}, open("m.conll", std::string("a B\nb O\0\n", 9)));
  ASSERT_EQ(open("m.conll", std::string("a\0b B\n\xff O\n\n\0 B\nc O\n", 19)), IG_OK) << ig_error_message();
  EXPECT_EQ(words(0), "a\ufffdb/B \ufffd/O");
  EXPECT_EQ(words(1), "\ufffd/B c/O");
  EXPECT_EQ(d->texts[0].n_invalid, 2u);
  EXPECT_EQ(d->texts[1].n_invalid, 1u);
  refuse(IG_ERR_FORMAT, {"m.conll:2:1", "word is empty"}, open("m.conll", "a\tB\n\tO\n"));
  refuse(IG_ERR_DATA, {"m.conll", "empty"}, open("m.conll", "\n\n-DOCSTART- O\n"));
  refuse(IG_ERR_DATA, {"one tag only", "\"O\""}, open("m.conll", "a O\nb O\n"));
  const char *names[] = {"O", "B"};
  o.classes = names;
  o.n_classes = 2;
  ASSERT_EQ(open("m.conll", "a B\nb O\n"), IG_OK);
  EXPECT_EQ(d->texts[0].word_labels[0], 1);
  refuse(IG_ERR_MISMATCH, {"class \"I\"", "m.conll:1"}, open("m.conll", "a B\nb I\n"));
  o.classes = nullptr;
  // Parts, and a rare tag that both get.
  put("t/train.conll", rows("", 20, [](int i) { return "w" + std::to_string(i) + (i < 2 ? " B-X\n" : " O\n"); }));
  put("t/test.conll", "w B-Y\nv O\n");
  refuse(IG_ERR_MISMATCH, {"found 3 tags", "2 classes without names"}, open((root / "t").string()));
  o.n_classes = 0;
  ASSERT_EQ(open((root / "t").string()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("tag \"B-Y\""));
  EXPECT_EQ(d->count[IG_PART_TEST], 1u);
  int rare = 0;
  for (size_t i = 0; i < d->count[IG_PART_VAL]; i++)
    rare += std::string(words(d->index[IG_PART_VAL][i])).find("B-X") != std::string::npos;
  EXPECT_EQ(rare, 1);
  o.needs_labels = false;
  o.task = IG_TASK_AUTO;
  ASSERT_EQ(open("m.conll", "a\nb\n\nc\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 2u);
  EXPECT_EQ(d->texts[0].word_labels, nullptr);
}

TEST_F(TextData, PredictionNeedsNoLabels) {
  o.needs_labels = false;
  ASSERT_EQ(open("m.csv", "message\nhello\nworld\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 2u);
  EXPECT_EQ(d->count[IG_PART_TEST], 2u);
  EXPECT_EQ(first(1), "world");
  ASSERT_EQ(open("m.txt", "\xef\xbb\xbfone\r\n\ntwo words"), IG_OK) << ig_error_message();  // a text a line
  ASSERT_EQ(d->n, 2u);
  EXPECT_EQ(first(0), "one");
  EXPECT_EQ(first(1), "two words");
  EXPECT_STREQ(d->samples[1].name, "m.txt:3");
  put("deep/er/a.txt", "a\nb");
  ASSERT_EQ(open((root / "deep").string()), IG_OK) << ig_error_message();
  EXPECT_EQ(first(0), "a\nb");
}

TEST_F(TextData, BadTables) {
  refuse(IG_ERR_NOT_FOUND, {"nowhere.csv"}, open("/nowhere.csv"));
  refuse(IG_ERR_DATA, {"m.csv", "is empty"}, open("m.csv", ""));
  refuse(IG_ERR_DATA, {"m.csv", "a header and no row"}, open("m.csv", "text,label\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:3:1", "found 1 cell; the header has 2"}, open("m.csv", "text,label\na,x\nb\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:1:2", "column \"text\"", "twice", "column 1"},
         open("m.csv", "text,text,label\na,b,x\n"));
  refuse(IG_ERR_FORMAT, {"m.tsv:3:3", "column \"Label\"", "twice", "column 1"},
         open("m.tsv", "\n\nlabel\ttext\tLabel\nx\ta\ty\n"));
  ASSERT_EQ(open("m.csv", "text,label,,\na,x,,\nb,y,,\n"), IG_OK) << "columns without a name: " << ig_error_message();
  refuse(IG_ERR_FORMAT, {"m.csv:2:3", "found 3 cells"}, open("m.csv", "text,label\na,b,x\n"));
  refuse(IG_ERR_FORMAT, {"m.tsv:3:3", "found 3 cells", "a .csv may have quoted"},
         open("m.tsv", "text\tlabel\na\tx\nb\tc\tx\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:3:1", "never closed"}, open("m.csv", "text,label\na,x\n\"b,y\nc,z\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:2:1", "after a closing quote"}, open("m.csv", "text,label\n\"a\"b,x\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:2:2", "NUL"}, open("m.csv", std::string("text,label\na,x\0y\n", 17)));
  refuse(IG_ERR_FORMAT, {"m.csv:1:2", "NUL"}, open("m.csv", std::string("text,la\0bel\na,x\n", 16)));
  refuse(IG_ERR_FORMAT, {"m.csv:3:2", "\"label\"", "expected a class"}, open("m.csv", "text,label\na,x\nb,\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:1:1", "UTF-16"}, open("m.csv", std::string("\xff\xfet\0e\0", 6)));
  refuse(IG_ERR_FORMAT, {"m.csv:1:257", "256 columns"}, open("m.csv", std::string(300, ',') + "\n"));
  refuse(IG_ERR_DATA, {"one class only", "\"x\""}, open("m.csv", "text,label\na,x\nb,x\n"));
  refuse(IG_ERR_DATA, {"raw text", "task=mlm"}, open("m.txt", "a\n"));
  refuse(IG_ERR_DATA, {"m.parquet", ".csv"}, open("m.parquet", "PAR1"));
  o.task = IG_TASK_MLM;
  refuse(IG_ERR_USAGE, {"task=mlm reads raw text"}, open("m.csv", "text,label\na,x\n"));
  o.task = IG_TASK_AUTO;
  // Empty texts are skipped and named, or refused.
  ASSERT_EQ(open("m.csv", "text,label\na,x\n ,x\nb,y\n\"\n\t\",y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n, 2u);
  EXPECT_EQ(d->n_skipped, 2u);
  EXPECT_TRUE(warned("m.csv:3") && warned("m.csv:5") && warned("the text is empty"));
  ASSERT_EQ(open("p.csv", "text,text2,label\na,b,x\nc,,y\nd,e,y\n"), IG_OK);
  EXPECT_TRUE(warned("the second text is empty"));
  o.strict = true;
  refuse(IG_ERR_DATA, {"p.csv:3", "cannot be used", "second text is empty"}, open(data));
  o.strict = false;
  refuse(IG_ERR_DATA, {"no usable text", "2 texts were skipped"}, open("m.csv", "text,label\n ,x\n ,y\n"));
}

TEST_F(TextData, ALineWithoutAnEndIsRefusedAtACap) {
  std::string big((16u << 20) + 10, 'x');
  refuse(IG_ERR_FORMAT, {"m.csv:3:1", "16 MiB"}, open("m.csv", "text,label\na,x\n" + big + ",y\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:3:1", "16 MiB", "closed"}, open("m.csv", "text,label\na,x\n\"" + big + ",y\n"));
  refuse(IG_ERR_FORMAT, {"m.jsonl:1:", "16 MiB"}, open("m.jsonl", "{\"text\": \"" + big + "\"}"));
}

TEST_F(TextData, AnyAllocationMayFail) {
  put("a/train.csv", rows("text,text2,label,group", 30, [](int i) {
        return "t" + std::to_string(i) + ",u," + std::to_string(i % 3) + ",g" + std::to_string(i);
      }));
  put("a/test.csv", "text,text2,label\nx,y,0\n");
  put("b/x/1.txt", "one");
  put("b/y/1.txt", "two");
  put("m.jsonl",
      "{\"text\": \"a\", \"label\": [\"x\"]}\n{\"text\": \"b\", \"label\": [\"x\", \"y\"]}\n"
      "{\"text\": \"b\", \"label\": []}\n{\"text\": \"b\", \"label\": [\"y\"]}\n");
  put("m.conll", "a B\nb O\n\nc O\nd I\n");
  for (std::string name : {"a", "b", "m.jsonl", "m.conll"}) {
    for (int forever : {0, 1}) {
      int64_t k = 1;
      for (;; k++) {
        ASSERT_LT(k, 2000);
        ig_mem_fail_after(k, forever);
        int64_t asked = ig_mem_asked();
        ig_status status = open((root / name).string());
        asked = ig_mem_asked() - asked;
        ig_mem_fail_after(0, 0);
        if (status == IG_OK && asked < k)
          break;
        ASSERT_TRUE(status == IG_ERR_MEMORY || status == IG_OK) << name << k << ig_error_message();
        EXPECT_EQ(d != nullptr, status == IG_OK);
      }
      EXPECT_GT(k, 10);
      ig_dataset_close(d);
      d = nullptr;
    }
  }
}

TEST_F(TextData, QualityFindsCopiesLeaksAndConflicts) {
  o.inspect = o.allow_one_class = true;
  std::string csv = rows("text,text2,label,split", 20,
                         [](int i) { return "t" + std::to_string(i) + ",u," + (i < 18 ? "a" : "b") + ",train"; });
  csv += "t3,u,a,test\nt3,u,a,train\nt5,u,b,train\nt6,v,b,train\nt,7u,a,train\n,x,a,train\n";  // t6,v and t,7u are none
  ASSERT_EQ(open("m.csv", csv), IG_OK) << ig_error_message();
  ig_text_quality q{};
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK) << ig_error_message();
  ASSERT_EQ(q.n_groups, 2u);
  EXPECT_EQ(q.groups[0].n, 3u);
  EXPECT_EQ(std::vector<size_t>(q.members + q.groups[0].first, q.members + q.groups[0].first + 3),
            (std::vector<size_t>{3, 20, 21}));
  EXPECT_EQ(q.groups[0].parts, 1u << IG_PART_TRAIN | 1u << IG_PART_TEST);
  EXPECT_FALSE(q.groups[0].labels_differ);
  EXPECT_TRUE(q.groups[1].labels_differ);
  EXPECT_EQ(q.n_copies, 3u);
  EXPECT_EQ(q.n_leaks, 1u);
  EXPECT_EQ(q.n_conflicts, 1u);
  std::map<std::string, std::string> found;
  for (size_t i = 0; i < q.n_findings; i++) {
    found[q.findings[i].code] = q.findings[i].text;
    EXPECT_LE(q.findings[i ? i - 1 : 0].severity, q.findings[i].severity);
  }
  EXPECT_NE(found["leak"].find("\"m.csv:5\" and \"m.csv:22\""), std::string::npos) << found["leak"];
  EXPECT_NE(found["label_conflict"].find("\"m.csv:7\" and \"m.csv:24\""), std::string::npos) << found["label_conflict"];
  EXPECT_NE(found["few_texts"].find("\"b\""), std::string::npos);
  EXPECT_NE(found["duplicates"].find("2 texts"), std::string::npos) << found["duplicates"];
  EXPECT_EQ(q.counts[IG_PART_TEST * 2 + 0], 1);
  size_t all = 0;
  for (auto &part : q.lengths)
    for (size_t n : part)
      all += n;
  EXPECT_EQ(all, d->n);
  EXPECT_EQ(q.lengths[IG_PART_TEST][1], 1u);  // 3 bytes
  ig_text_quality_fini(&q);
  for (int64_t k = 1;; k++) {
    ASSERT_LT(k, 100);
    int64_t asked = ig_mem_asked();
    ig_mem_fail_after(k, 0);
    ig_status status = ig_text_quality_scan(d, &q);
    ig_mem_fail_after(0, 0);
    ig_text_quality_fini(&q);
    if (status == IG_OK && ig_mem_asked() - asked < k)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY);
  }
}

TEST_F(TextData, Banking77) {
  std::string path = data_folder() + "/banking77";
  if (!fs::exists(path))
    GTEST_SKIP() << "no " << path;
  ASSERT_EQ(open(path), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 77);
  EXPECT_EQ(d->count[IG_PART_TRAIN] + d->count[IG_PART_VAL], 10003u);
  EXPECT_EQ(d->count[IG_PART_TEST], 3080u);
  EXPECT_EQ(d->n_skipped, 0u);
  std::vector<int64_t> counts(77);
  ig_dataset_class_counts(d, IG_PART_TEST, counts.data());
  for (int64_t c : counts)
    EXPECT_EQ(c, 40);
  EXPECT_EQ(first(0), "I am still waiting on my card?");
  EXPECT_EQ(label(0), "card_arrival");
  size_t with_breaks = 0;
  for (size_t i = 0; i < d->n; i++)
    with_breaks += first(i).find('\n') != std::string::npos;
  EXPECT_EQ(with_breaks, 13u);
  ig_text_quality q{};
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK);
  EXPECT_EQ(q.n_copies, 0u);
  ig_text_quality_fini(&q);
}

TEST_F(TextData, Sst2) {
  std::string path = data_folder() + "/sst2";
  if (!fs::exists(path))
    GTEST_SKIP() << "no " << path;
  ASSERT_EQ(open(path), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TRAIN], 67349u);
  EXPECT_EQ(d->count[IG_PART_VAL], 872u);
  EXPECT_EQ(d->count[IG_PART_TEST], 0u);
  int64_t counts[2];
  ig_dataset_class_counts(d, IG_PART_TRAIN, counts);
  EXPECT_EQ(counts[1], 37569);
  EXPECT_EQ(counts[0], 29780);
  ig_dataset_class_counts(d, IG_PART_VAL, counts);
  EXPECT_EQ(counts[1], 444);
  ig_text_quality q{};  // as counted by a dictionary in Python
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK);
  EXPECT_EQ(q.n_groups, 371u);
  EXPECT_EQ(q.n_copies, 371u);
  EXPECT_EQ(q.n_conflicts, 5u);
  EXPECT_EQ(q.n_leaks, 0u);
  ig_text_quality_fini(&q);
  EXPECT_TRUE(warned("test.tsv"));
}

}  // namespace
