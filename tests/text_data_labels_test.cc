// floor: ig_data
// Labelled texts: which column is what, and labels: names, numbers, several a text, a tag a word. Rule: files are
// written by the test itself; texts and labels are compared with what was written.
#include "tests/text_data_fixture.h"

namespace {

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

TEST_F(TextData, ColumnsThatAreNotReadAreTold) {
  const std::string rows = "1\twho?\tme\tx\n2\twhen?\tnow\ty\n";
  ASSERT_EQ(open("train.tsv", "index\tquestion\tsentence\tlabel\n" + rows), IG_OK) << ig_error_message();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(warned("train.tsv: the text is column \"sentence\"; not read: \"question\" (text_column="))
      << warnings[0];
  o.text_column = "question";
  o.text2_column = "sentence";
  ASSERT_EQ(open("train.tsv", "index\tquestion\tsentence\tlabel\n" + rows), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.empty());
  o.text_column = o.text2_column = nullptr;
  ASSERT_EQ(open("train.tsv", "Unnamed: 0\tsentence1\tsentence2\tlabel\n" + rows), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.empty());
}

TEST_F(TextData, NamesOfLabelsAreUtf8) {
  refuse(IG_ERR_FORMAT, {"m.csv:3:2", "class \"caf\\xe9\"", "not UTF-8", "save the file as UTF-8"},
         open("m.csv", "text,label\na,x\nb,caf\xe9\n"));
  refuse(IG_ERR_FORMAT, {"m.csv:2:2", "label \"\\xe9\"", "not UTF-8"}, open("m.csv", "text,label\na,x;\xe9\nb,x\n"));
  refuse(IG_ERR_FORMAT, {"m.conll:3: tag \"\\xe9\"", "not UTF-8"}, open("m.conll", "a B\nb O\nc \xe9\n"));
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
  names[2] = "neg";  // which of the two is meant nobody knows
  refuse(IG_ERR_MISMATCH, {"class \"neg\"", "m.csv:3", "two of the 3 classes"},
         open("m.csv", "text,label\na,pos\nb,neg\n"));
}

TEST_F(TextData, NumbersAsPeopleWriteThemAreNoClasses) {
  auto csv = [](const std::string &odd) {
    return rows("text;label", 9, [&](int i) { return "t;" + (i == 4 ? odd : std::to_string(i) + ".5"); });
  };
  for (auto &odd : {"4,5", "1.234,5", "1,234.5", "+4.5 %", "n/a", "", "0x10"})
    refuse(IG_ERR_FORMAT,
           {"m.csv:6:2", "column \"label\"", std::string("found \"") + odd + "\"", "such as 0.5", "task=classify"},
           open("m.csv", csv(odd)));
  const auto commas = rows("text;label", 9, [](int i) { return "t;" + std::to_string(i % 3) + ",5"; });
  refuse(IG_ERR_FORMAT, {"m.csv:2:2", "found \"0,5\"", "such as 0.5"}, open("m.csv", commas));
  o.inspect = true;  // a report tells it and goes on
  ASSERT_EQ(open("m.csv", commas), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("m.csv:2:2"));
  o.inspect = false;
  o.task = IG_TASK_CLASSIFY;
  ASSERT_EQ(open("m.csv", commas), IG_OK) << ig_error_message();
  EXPECT_EQ(classes(), (Strings{"0,5", "1,5", "2,5"}));
  o.task = IG_TASK_REGRESS;
  refuse(IG_ERR_FORMAT, {"m.csv:2:2", "found \"0,5\"", "a finite number such as 0.5"}, open("m.csv", commas));
  o.task = IG_TASK_AUTO;
  for (auto &names : {Strings{"2024-01-02", "3,5 mm", "A4"}, Strings{"1.5", "n/a", "x"},
                      Strings{"01.02.2024", "-", "1,2,3"}, Strings{"5", "10", "n/a"}}) {
    ASSERT_EQ(open("m.csv", rows("text;label", 9, [&](int i) { return "t;" + names[i % 3]; })), IG_OK)
        << ig_error_message();
    EXPECT_EQ(d->n_classes, 3);
  }
}

TEST_F(TextData, KeysOfLaterObjects) {
  const std::string one = "{\"text\": \"a\", \"label\": \"x\"}\n";
  auto later = [&](const std::string &members) { return one + "{\"text\": \"b\", \"label\": \"y\"" + members + "}\n"; };
  for (auto &key : {"\"split\": \"test\"", "\"Part\": \"val\"", "\"group\": 7", "\"text2\": \"c\""})
    refuse(IG_ERR_FORMAT, {"m.jsonl:2", "the first object has not", "write it there"},
           open("m.jsonl", later(std::string(", ") + key)));
  for (auto &fine : {", \"more\": 1, \"part\": \"axle\", \"split\": null, \"group\": \"\"", ", \"class\": \"z\""})
    ASSERT_EQ(open("m.jsonl", later(fine)), IG_OK) << ig_error_message();
  const std::string other = "{\"text\": \"a\", \"lang\": \"x\"}\n{\"text\": \"b\", \"lang\": \"y\", \"label\": 1}\n";
  refuse(IG_ERR_FORMAT, {"m.jsonl:2", "\"label\"", "write it there"}, open("m.jsonl", other));
  const char *lang = "lang";
  o.columns = &lang;
  o.n_columns = 1;
  ASSERT_EQ(open("m.jsonl", other), IG_OK) << ig_error_message();
  o.columns = nullptr;
  o.n_columns = 0;
  o.needs_labels = false;
  ASSERT_EQ(open("m.jsonl", other), IG_OK) << ig_error_message();
  o.needs_labels = true;
  // No key is not the same as no label.
  const auto lists = rows("{\"text\": \"t\", \"label\": [\"a\"]}", 9, [](int i) {
    return std::string("{\"text\": \"t\", \"label\": ") +
           (i % 3 == 0   ? "null"
            : i % 3 == 1 ? "[]"
                         : "[\"a\", \"b\"]") +
           "}";
  });
  ASSERT_EQ(open("m.jsonl", lists), IG_OK) << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_MULTILABEL);
  refuse(IG_ERR_FORMAT, {"m.jsonl:11:2", "\"label\"", "no label by this key"},
         open("m.jsonl", lists + "{\"text\": \"t\", \"labels\": [\"a\"]}\n"));
}

TEST_F(TextData, NamesThatPeopleTakeForOneAreTold) {
  auto two = [&](const std::string &a, const std::string &b) {
    EXPECT_EQ(open("m.csv", rows("text,label", 8, [&](int i) { return "t,\"" + (i % 2 ? a : b) + "\""; })), IG_OK)
        << ig_error_message();
    return warned("learned as two");
  };
  EXPECT_TRUE(two("OK", "ok"));
  EXPECT_TRUE(two("ok ", "ok"));
  EXPECT_TRUE(two("not ok", "not\u00a0ok"));
  EXPECT_TRUE(two("Pr\u00fcfung", "Pru\u0308fung"));  // composed and not
  EXPECT_TRUE(two("\u00c4", "a\u0308"));
  EXPECT_TRUE(two("ok", "ok\u200b"));
  EXPECT_TRUE(two("01", "1"));
  EXPECT_FALSE(two("Pr\u00fcfung", "Prufung"));
  EXPECT_FALSE(two("1", "10"));
  EXPECT_FALSE(two("a-b", "ab"));
  ASSERT_EQ(open("m.csv", "text,label\nt,a;A;b\nt,a;B\nt,b\nt,A\n"), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("labels \"A\" and \"a\" are learned as two")) << warnings[0];
  EXPECT_TRUE(warned("(1 more such pair)"));
  ASSERT_EQ(open("m.conll", "a B-X\nb b-x\n"), IG_OK) << ig_error_message();
  EXPECT_TRUE(warned("tags \"B-X\" and \"b-x\""));
}

TEST_F(TextData, NumbersAndSeveralLabels) {
  o.task = IG_TASK_REGRESS;
  ASSERT_EQ(open("m.csv", rows("text,score", 40, [](int i) { return "t," + std::to_string(i * 0.25); })), IG_OK)
      << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_REGRESS);
  EXPECT_EQ(classes(), (Strings{"score"}));
  EXPECT_FLOAT_EQ(d->targets[7], 1.75f);
  EXPECT_EQ(d->samples[7].label, -1);
  for (auto &bad : {"x", "nan", "1e400", "", "0x10"})
    refuse(IG_ERR_FORMAT, {"m.csv:3:2", "\"score\"", "a finite number"},
           open("m.csv", std::string("text,score\nt,1\nt,") + bad + "\n"));
  refuse(IG_ERR_DATA, {"nothing to learn"}, open("m.csv", "text,score\nt,1\nt,1\n"));
  refuse(IG_ERR_DATA, {"task=regress", "column of labels"}, open("m.csv", "text\nt\n"));
  // Digits that fp32 has not.
  auto from = [&](double first, double step) {
    return open("m.csv", rows("text,score", 40, [&](int i) {
                  char text[64];
                  snprintf(text, sizeof text, "t,%.17g", first + i * step);
                  return std::string(text);
                }));
  };
  refuse(IG_ERR_DATA, {"m.csv", "\"score\" goes from 1700000000 to 1700000039", "subtract 1700000000"}, from(1.7e9, 1));
  EXPECT_EQ(from(1.7e9, 3600), IG_OK) << ig_error_message();
  EXPECT_EQ(from(0.1, 1e-3), IG_OK) << ig_error_message();
  refuse(IG_ERR_DATA, {"0.1 in all", "nothing to learn"}, from(0.1, 0));
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
  ASSERT_EQ(open("m.txt", "a B\rb O\r\rc O\r"), IG_OK) << ig_error_message();  // as old programs of Macs write
  EXPECT_EQ(words(0), "a/B b/O");
  EXPECT_STREQ(d->samples[1].name, "m.txt:4");
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

}  // namespace
