// floor: ig_data
// Labelled texts: every form of file, what is refused and in which words. Rule: files are written by the test itself;
// texts and labels are compared with what was written.
#include <algorithm>

#include "tests/text_data_fixture.h"

namespace {

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

TEST_F(TextData, CsvAsSpreadsheetsExportIt) {
  auto names = [&] {
    Strings out;
    for (size_t i = 0; i < d->n; i++)
      out.push_back(d->samples[i].name);
    return out;
  };
  // Delimiters within quotes are none; one within a cell opens nothing.
  ASSERT_EQ(open("m.csv", "\"Text, free, as typed\";label\none;x\ntwo;y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(first(1), "two");
  ASSERT_EQ(open("m.csv", "5\" wide;label\none,two;x\ntwo;y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(first(0), "one,two");
  // Excel's own first line.
  for (char c : {';', ',', '\t', '|'}) {
    std::string s = "\xef\xbb\xbfsep=@\r\ntext@label\r\none@x\r\ntwo@y\r\n";
    std::replace(s.begin(), s.end(), '@', c);
    ASSERT_EQ(open("m.csv", s), IG_OK) << ig_error_message();
    EXPECT_EQ(names(), (Strings{"m.csv:3", "m.csv:4"}));
    EXPECT_EQ(first(0), "one");
  }
  // CR alone ends lines, also within quotes.
  ASSERT_EQ(open("m.csv", "text,label\rone,x\r\"two\rlines\",y\r\rfour,y\r"), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), (Strings{"m.csv:2", "m.csv:3", "m.csv:6"}));
  EXPECT_EQ(first(1), "two\rlines");
  refuse(IG_ERR_FORMAT, {"m.csv:3:1", "found 1 cell"}, open("m.csv", "text,label\rone,x\rtwo\r"));
  // Rows and columns that were emptied.
  ASSERT_EQ(open("m.csv", ";;;\r\ntext;label;;\r\none;x;;\r\n;;;\r\ntwo;y;;\r\n;;;\r\n;;;\r\n"), IG_OK)
      << ig_error_message();
  EXPECT_EQ(names(), (Strings{"m.csv:3", "m.csv:5"}));
  EXPECT_EQ(d->n_skipped, 0u);
  EXPECT_TRUE(warnings.empty());
  ASSERT_EQ(open("m.csv", "text;label\none;x\n\"\";\ntwo;y\n"), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_skipped, 1u) << "a text in quotes was meant";
  refuse(IG_ERR_FORMAT, {"m.csv:1:1", "NUL byte", "UTF-16", "CSV in UTF-8"},
         open("m.csv", std::string("t\0e\0x\0t\0,\0l\0\n\0a\0,\0b\0", 20)));
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
  // In a last cell, too, where the line before the break is not ragged.
  ASSERT_EQ(open("l.tsv", "label\ttext\na\t\"x\"\nb\t\"say \"\"two\"\"\n\nlines\"\na\tz\n"), IG_OK)
      << ig_error_message();
  ASSERT_EQ(d->n, 3u);
  EXPECT_EQ(first(1), "say \"two\"\n\nlines");
  // Half of a pair of quotes, closed quotes and a quote within a cell open nothing.
  for (auto &cell : {"\"x\"", "say \"x"})
    refuse(IG_ERR_FORMAT, {"r.tsv:3:1", "quotes are text in a .tsv"},
           open("r.tsv", std::string("label\ttext\na\t") + cell + "\nlines\nb\ty\n"));
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
  // Several in a line: no two have the same name.
  ASSERT_EQ(open("m.json",
                 "[{\"text\": \"x\", \"label\": 1}, {\"text\": \"y\", \"label\": 0},{\"text\": \"z\", "
                 "\"label\": 0}\n,\n\n{\"text\": \"w\", \"label\": 0}]"),
            IG_OK)
      << ig_error_message();
  for (size_t i = 0; i < 4; i++)
    EXPECT_EQ(d->samples[i].name, "m.json:" + std::to_string(i + 1));
  refuse(IG_ERR_FORMAT, {"m.json:2:2", "expected a class"},
         open("m.json", R"([{"text": "x", "label": 1}, {"text": "y", "label": ""}])"));
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
  ASSERT_EQ(open("m.txt", "one\r\rtwo words\r"), IG_OK) << ig_error_message();  // as old programs of Macs write
  ASSERT_EQ(d->n, 2u);
  EXPECT_EQ(first(0), "one");
  EXPECT_STREQ(d->samples[1].name, "m.txt:3");
  ASSERT_EQ(open("m.txt", "one\rstill\ntwo"), IG_OK) << ig_error_message();
  EXPECT_EQ(first(0), "one\rstill");
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

}  // namespace
