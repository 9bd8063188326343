// floor: ig_data
// Raw text cut into documents and sentences: where they end, and what is no end.
#include <algorithm>
#include <gtest/gtest.h>
#include <string>

extern "C" {
#include "runtime/data/corpus_internal.h"
}

namespace {

// Sentences, "|" before each that starts a document.
std::string cut(const std::string &text, bool new_document = true) {
  corpus_spans s = {};
  std::string out;
  EXPECT_EQ(ig_corpus_cut(text.data(), text.size(), new_document, &s), IG_OK);
  for (size_t i = 0; i < s.n; i++) {
    std::string one = text.substr(s.items[i].at, s.items[i].n);
    std::replace(one.begin(), one.end(), '\n', ' ');
    out += (s.items[i].starts_document ? "|" : "") + std::string("[") + one + "]";
  }
  ig_corpus_spans_fini(&s);
  return out;
}

TEST(Sentences, EndsAndWhatIsNone) {
  EXPECT_EQ(cut("One is here. Two is there! Is three? Yes."), "|[One is here.][Two is there!][Is three?][Yes.]");
  EXPECT_EQ(cut("Dr. Smith met Mr. J. R. Jones. He left."), "|[Dr. Smith met Mr. J. R. Jones.][He left.]");
  EXPECT_EQ(cut("It costs 3.14. Nobody pays 2.50 dollars."), "|[It costs 3.14.][Nobody pays 2.50 dollars.]");
  EXPECT_EQ(cut("See fig. 3 and vol. 2. No. 5 is next. He said no. Then he went."),
            "|[See fig. 3 and vol. 2.][No. 5 is next.][He said no.][Then he went.]");
  EXPECT_EQ(cut("He said \"Stop.\" Then (really!) he ran. (So it was.) \"Go!\" she said."),
            "|[He said \"Stop.\"][Then (really!) he ran.][(So it was.)][\"Go!\" she said.]");
  EXPECT_EQ(cut("in the U.S. The next in the U.S. Army e.g. Rome."),
            "|[in the U.S.][The next in the U.S. Army e.g. Rome.]");
  EXPECT_EQ(cut("Wait... What? No!? Yes."), "|[Wait...][What?][No!?][Yes.]");
  EXPECT_EQ(cut("wait... then go. Acme Inc. sold it. Acme Inc. The end."),
            "|[wait... then go.][Acme Inc. sold it.][Acme Inc.][The end.]");
  EXPECT_EQ(cut("1. First thing\n2. Second thing with more words"),
            "|[1. First thing][2. Second thing with more words]");
  EXPECT_EQ(cut("\u4f60\u597d\u3002\u518d\u89c1\u3002"), "|[\u4f60\u597d\u3002][\u518d\u89c1\u3002]");
  EXPECT_EQ(cut("Er kam. \u00c4rger. Er ging. \u00fcber alles."), "|[Er kam.][\u00c4rger.][Er ging. \u00fcber alles.]");
  EXPECT_EQ(cut("no capital here. so these are two."), "|[no capital here.][so these are two.]");
  EXPECT_EQ(cut("The box said \" open . \" The next \" never . \" It ."),
            "|[The box said \" open . \"][The next \" never . \"][It .]");
  EXPECT_EQ(cut("'' We go often . '' Then he ran . '' No ! ''"), "|['' We go often . ''][Then he ran .]['' No ! '']");
  EXPECT_EQ(cut("Are you here , he said . Mr. Weston 's house ! She went ."),
            "|[Are you here , he said .][Mr. Weston 's house !][She went .]");
  EXPECT_EQ(cut(""), "");
  EXPECT_EQ(cut(" \n\t\n"), "");
  EXPECT_EQ(cut("."), "|[.]");
}

TEST(Sentences, LinesAndDocuments) {
  EXPECT_EQ(cut("The first line is wrapped at\nforty columns or so. And the\nnext sentence ends here.\n"),
            "|[The first line is wrapped at forty columns or so.][And the next sentence ends here.]");
  // A sentence a line, without marks or capitals: nothing tells but that the lines are ragged.
  EXPECT_EQ(cut("a short one\nthis line is a good deal longer than that\nand a short one\nthe end of it is here\n"),
            "|[a short one][this line is a good deal longer than that][and a short one][the end of it is here]");
  EXPECT_EQ(cut("Title\nThe text begins here and goes on for long. It ends.\n"),
            "|[Title][The text begins here and goes on for long.][It ends.]");
  EXPECT_EQ(cut("One.\r\n\r\nTwo.\r\n \t \r\n\r\nThree."), "|[One.]|[Two.]|[Three.]");
  EXPECT_EQ(cut("Goes on.\n\nNew.", false), "[Goes on.]|[New.]");
  EXPECT_EQ(cut("\nNew.", false), "|[New.]");
}

TEST(Sentences, LongOnesAreCut) {
  std::string words;
  for (int i = 0; i < 40000; i++)
    words += "word ";
  corpus_spans s = {};
  ASSERT_EQ(ig_corpus_cut(words.data(), words.size(), true, &s), IG_OK);
  size_t letters = 0;
  EXPECT_EQ(s.n, 4u);
  for (size_t i = 0; i < s.n; i++) {
    EXPECT_LE(s.items[i].n, (size_t)CORPUS_MAX_SENTENCE);
    EXPECT_EQ(words.substr(s.items[i].at, 4), "word");
    letters += (s.items[i].n + 1) / 5;
  }
  EXPECT_EQ(letters, 40000u);
  std::string one(200000, 'x');
  for (size_t i = 0; i < one.size(); i += 2)
    one.replace(i, 2, "\u00e9");
  s.n = 0;
  ASSERT_EQ(ig_corpus_cut(one.data(), one.size(), true, &s), IG_OK);
  size_t bytes = 0;
  for (size_t i = 0; i < s.n; bytes += s.items[i++].n)
    EXPECT_EQ((unsigned char)one[s.items[i].at], 0xC3u) << "cut within a character";
  EXPECT_EQ(bytes, one.size());
  ig_corpus_spans_fini(&s);
}

}  // namespace
