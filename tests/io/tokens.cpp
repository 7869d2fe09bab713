// Training data: files into tokens, refusals by line and position, batches that depend on (seed, step) alone.
#include "depthgrow/io/tokens.hpp"

#include <set>

#include "depthgrow/io/training_data.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

std::vector<std::int32_t> all(const token_list& tokens) {
    std::vector<std::int32_t> out(tokens.size());
    tokens.copy(0, out.size(), out.data());
    return out;
}

token_list counting(std::size_t count) {
    token_list tokens(100000);
    for (std::size_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::uint32_t>(i));
    return tokens;
}

struct marked {
    std::string text;
    std::vector<unsigned char> answer;
};

/// "q<letter>a " with the letter after 'a' an answer.
marked document(std::uint64_t index) {
    const std::string text = std::string("q") + static_cast<char>('A' + index % 26) + "a\n";
    return {text, {0, 0, 1, 1}};
}

}  // namespace

TEST_CASE("text files become their bytes") {
    const temporary::folder folder;
    CHECK(all(load_tokens(folder.file("a.txt", "ab\xc3\xa9\n"))) == std::vector<std::int32_t>{97, 98, 0xc3, 0xa9, 10});
}

TEST_CASE("long texts are encoded in pieces that no tokenizer can tell from the whole") {
    const temporary::folder folder;
    std::string content;
    while (content.size() < 3000000) content += "some words on a line\n\n  and an indented one\nlast";
    token_options options;
    std::vector<std::string> pieces;
    options.encode = [&](std::string_view piece, std::vector<std::int32_t>& tokens) {
        pieces.emplace_back(piece);
        encode_bytes(piece, tokens);
    };
    CHECK(load_tokens(folder.file("a.txt", content), options).size() == content.size());
    REQUIRE(pieces.size() == 3);
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
        CHECK(pieces[i].substr(pieces[i].size() - 5) == " one\n");
        CHECK(pieces[i + 1].substr(0, 5) == "lasts");
    }
}

TEST_CASE("JSON lines become their texts, one separator after each") {
    const temporary::folder folder;
    const auto path = folder.file("a.jsonl", "{\"text\": \"one\", \"id\": 3}\n\n{\"text\": \"t\\u00e9\"}\r\n");
    const auto tokens = all(load_tokens(path));
    CHECK(std::string(tokens.begin(), tokens.end()) == "one\n\nt\xc3\xa9\n\n");
    CHECK(says(refusal([&] { load_tokens(folder.file("b.jsonl", "{\"text\": \"one\"}\n{\"text\": 3}\n")); }),
               "b.jsonl line 2: expected text to be a string, found 3"));
    CHECK(says(refusal([&] { load_tokens(folder.file("c.jsonl", "{\"text\": \"one\"}\n{\"text\": \"on")); }),
               "c.jsonl line 2: expected valid JSON"));
    CHECK(says(refusal([&] { load_tokens(folder.file("d.jsonl", "[]\n")); }),
               "d.jsonl line 1: expected a JSON object, found []"));
    CHECK(says(refusal([&] { load_tokens(folder.file("e.jsonl", "\n\n")); }),
               "e.jsonl: expected documents with text, found 0"));
}

TEST_CASE("token files hold two or four little-endian bytes a token") {
    const temporary::folder folder;
    const auto path = folder.file("a.bin", std::string("\x01\x02\x03\x00", 4));
    token_options options;
    options.vocab = 60000;
    CHECK(all(load_tokens(path, options)) == std::vector<std::int32_t>{513, 3});
    options.vocab = 300000;
    CHECK(all(load_tokens(path, options)) == std::vector<std::int32_t>{0x30201});
    options.vocab = 600;
    options.bin_bytes = 2;
    CHECK(all(load_tokens(path, options)) == std::vector<std::int32_t>{513, 3});
    options.vocab = 513;
    CHECK(says(refusal([&] { load_tokens(path, options); }),
               "a.bin: expected tokens below the vocabulary of 513, found 513 at position 0"));
    CHECK(says(refusal([&] { load_tokens(folder.file("b.bin", "abc"), options); }),
               "b.bin: expected tokens of 16 bits, found 3 bytes, no multiple of 2"));
}

TEST_CASE("token files whose width does not fit the vocabulary are told from those of other ids") {
    const temporary::folder folder;
    const auto written = [&](std::size_t width, const std::vector<std::uint32_t>& ids) {
        std::string content;
        for (std::uint32_t id : ids)
            for (std::size_t k = 0; k < width; ++k) content += static_cast<char>(id >> (8 * k) & 255u);
        return folder.file("ids.bin", content);
    };
    std::vector<std::uint32_t> ids, zeros(64, 0), sparse;
    for (std::uint32_t i = 0; i < 64; ++i) ids.push_back(1 + i * 37 % 1000), sparse.push_back(i % 2 ? 0 : i + 1);
    token_options small, large;
    small.vocab = 50000, large.vocab = 100000;
    CHECK(all(load_tokens(written(2, ids), small)).size() == 64);
    CHECK(all(load_tokens(written(4, ids), large)).size() == 64);
    CHECK(says(refusal([&] { load_tokens(written(4, ids), small); }),
               "ids.bin: expected tokens of 16 bits (as a vocabulary of 50000 has them), found what reads as 32 bits a "
               "token: every second one of 16 bits is 0"));
    ids[5] = 70000;  // a vocabulary of another size
    CHECK(says(refusal([&] { load_tokens(written(4, ids), small); }), "found what reads as 32 bits a token"));
    ids[5] = 7;
    CHECK(says(refusal([&] { load_tokens(written(2, ids), large); }),
               "ids.bin: expected tokens of 32 bits (as a vocabulary of 100000 has them), found what reads as 16 bits "
               "a token: most ids of 32 bits are beyond the vocabulary, as 2490369 at position 0"));
    CHECK(says(refusal([&] {
                   load_tokens(written(2, {1, 2, 3}), large);
               }),
               "ids.bin: expected tokens of 32 bits (as a vocabulary of 100000 has them), found 6 bytes, no multiple "
               "of 4"));
    ids[5] = 200000;
    CHECK(says(refusal([&] { load_tokens(written(4, ids), large); }),
               "ids.bin: expected tokens below the vocabulary of 100000, found 200000 at position 5"));
    CHECK(all(load_tokens(written(2, zeros), small)).size() == 64);
    small.bin_bytes = 2;  // the caller knows better
    CHECK(all(load_tokens(written(2, sparse), small)).size() == 64);
}

TEST_CASE("documents without any text are refused, and a few empty ones are not") {
    const temporary::folder folder;
    CHECK(says(refusal([&] { load_tokens(folder.file("a.jsonl", "{\"text\": \"\"}\n{\"text\": \" \\n\"}\n")); }),
               "a.jsonl: expected documents with text, found 2, all of them empty"));
    CHECK(says(refusal([&] { load_tokens(folder.file("b.txt", " \n\t\r\n")); }),
               "b.txt: expected text, found only blanks"));
    CHECK(load_tokens(folder.file("c.jsonl", "{\"text\": \"\"}\n{\"text\": \"a\"}\n")).size() == 5);
}

TEST_CASE("a tokenizer that leaves the vocabulary is caught") {
    const temporary::folder folder;
    token_options options;
    options.vocab = 100;
    CHECK(says(refusal([&] { load_tokens(folder.file("a.txt", "abcxyz"), options); }),
               "a.txt: expected tokens below the vocabulary of 100, found 120 at position 3"));
}

TEST_CASE("missing, empty, binary and oddly named files are refused") {
    const temporary::folder folder;
    CHECK(says(refusal([&] { load_tokens(folder.path / "none.txt"); }),
               "none.txt: expected a file, found nothing of that name"));
    CHECK(
        says(refusal([&] { load_tokens(folder.file("a.txt", "")); }), "a.txt: expected content, found an empty file"));
    CHECK(says(refusal([&] { load_tokens(folder.file("b.txt", std::string("PK\x03\0x", 5))); }),
               "b.txt: expected text, found a zero byte at position 3"));
    CHECK(says(refusal([&] { load_tokens(folder.file("c.txt", "abc\xff\xfe\x80 abc")); }),
               "c.txt: expected UTF-8 text, found 3 of 10 bytes that are none"));
    CHECK(says(refusal([&] { load_tokens(folder.file("a.jsonl.xz", "x")); }),
               "expected a name ending in .txt, .jsonl or .bin, found .xz"));
    CHECK_NOTHROW(load_tokens(folder.file("d.txt", std::string(100, 'x') + "\xe9")));  // a stray Latin-1 letter
}

TEST_CASE("mixes are read from the flag") {
    const auto mix = parse_mix("built-in:0.4,C:/a b.txt:0.6,last");
    REQUIRE(mix.size() == 3);
    CHECK(mix[0].source == "built-in");
    CHECK(mix[0].weight == 0.4);
    CHECK(mix[1].source == "C:/a b.txt");
    CHECK(mix[2].weight == 1);
    for (const char* bad : {"", "a:", "a:x", "a:-1", "a:0", ":1", "a:1,,b:1", "a:inf", "a:nan"})
        CHECK(says(refusal([&] { parse_mix(bad); }), "[mix] expected SOURCE:WEIGHT"));
}

TEST_CASE("a batch is a function of seed and step, whatever was drawn before") {
    training_data data(7, 8), other(8, 8);
    data.add_tokens("numbers", counting(1000));
    other.add_tokens("numbers", counting(1000));
    token_batch first, again, different;
    data.sample(3, 4, first);
    data.sample(2, 4, again);
    data.sample(3, 4, again);
    CHECK(first.tokens == again.tokens);
    data.sample(4, 4, again);
    CHECK(first.tokens != again.tokens);
    other.sample(3, 4, different);
    CHECK(first.tokens != different.tokens);
    for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t t = 0; t < 8; ++t) CHECK(first.tokens[row * 9 + t + 1] == first.tokens[row * 9 + t] + 1);
    CHECK(first.weight_sum() == 32);
}

TEST_CASE("rows do not depend on how many rows are drawn") {
    training_data data(7, 8);
    data.add_tokens("numbers", counting(1000));
    token_batch few, many;
    data.sample(5, 2, few);
    data.sample(5, 6, many);
    CHECK(std::equal(few.tokens.begin(), few.tokens.end(), many.tokens.begin()));
}

TEST_CASE("training windows never touch what is held out, and reach every other token") {
    training_data data(1, 8);
    data.add_tokens("numbers", counting(200), 1, 0.25);
    CHECK(data.training_tokens(0) == 150);
    std::set<std::int32_t> seen;
    token_batch batch;
    for (std::uint64_t step = 0; step < 2000; ++step) {
        data.sample(step, 2, batch);
        seen.insert(batch.tokens.begin(), batch.tokens.end());
    }
    CHECK(*seen.begin() == 0);
    CHECK(*seen.rbegin() == 149);
    CHECK(seen.size() == 150);
    REQUIRE(data.held_out_windows(0) == 6);
    data.held_out(0, 0, 7, batch);
    CHECK(batch.tokens[0] == 150);
    CHECK(batch.tokens[9] == 158);
    CHECK(batch.tokens[5 * 9 + 8] == 198);
    CHECK(batch.tokens[6 * 9] == 150);  // starts over
}

TEST_CASE("the smallest file that is long enough has one window on each side") {
    training_data data(1, 8);
    data.add_tokens("numbers", counting(18));
    CHECK(data.held_out_windows(0) == 1);
    token_batch batch;
    data.sample(0, 1, batch);
    CHECK(batch.tokens.front() == 0);
    CHECK(refusal([&] { data.add_tokens("short.txt", counting(17)); }) ==
          "short.txt: expected at least 18 tokens (one window of 9 to train on and one held out), found 17");
}

TEST_CASE("generated documents fill windows from their beginning, answers alone weigh") {
    training_data data(1, 10);
    data.add_documents(
        "built-in", document,
        [](std::uint64_t) {
            return marked{"held", {0, 0, 0, 1}};
        },
        1, true);
    token_batch batch;
    data.sample(0, 3, batch);
    for (std::size_t row = 0; row < 3; ++row) {
        CHECK(batch.tokens[row * 11] == 'q');
        CHECK(batch.tokens[row * 11 + 4] == 'q');
        for (std::size_t t = 0; t < 10; ++t)
            CHECK(batch.weights[row * 10 + t] ==
                  (((t + 1) % 4 >= 2) ? 1.0f : 0.0f));  // weight of predicting token t + 1
    }
    data.held_out(0, 0, 1, batch);
    CHECK(std::string(batch.tokens.begin(), batch.tokens.end()) == "heldheldhel");
    CHECK(data.held_out_windows(0) == 0);
}

TEST_CASE("without the answer loss every position weighs") {
    training_data data(1, 10);
    data.add_documents("built-in", document, document);
    token_batch batch;
    data.sample(0, 3, batch);
    CHECK(batch.weight_sum() == 30);
}

TEST_CASE("sources are drawn by their weights") {
    training_data data(1, 4);
    data.add_tokens("numbers", counting(1000), 3);
    data.add_documents("built-in", document, document, 1);
    token_batch batch;
    std::size_t generated = 0;
    for (std::uint64_t step = 0; step < 1000; ++step) {
        data.sample(step, 4, batch);
        for (std::size_t row = 0; row < 4; ++row)
            generated += batch.tokens[row * 5] == 'q' && batch.tokens[row * 5 + 4] == 'q';
    }
    CHECK(generated > 900);
    CHECK(generated < 1100);
}

TEST_CASE("wrong use of the data is a sentence") {
    training_data data(1, 4);
    token_batch batch;
    CHECK(says(refusal([&] { data.sample(0, 1, batch); }), "expected at least one source"));
    CHECK(says(refusal([&] { data.add_tokens("a", counting(100), 0); }), "expected a weight above 0 for a, got 0"));
    CHECK(says(refusal([&] { data.add_tokens("a", counting(100), 1, 1.5); }),
               "expected a held-out share between 0 and 1, got 1.5"));
    data.add_documents(
        "empty", [](std::uint64_t) { return marked{}; }, document);
    CHECK(says(refusal([&] { data.sample(0, 1, batch); }), "expected documents with text"));
}

TEST_CASE("losses by source give each source its share of the batch's weight") {
    training_data data(3, 8);
    data.add_tokens("much", counting(1000), 1);
    data.add_documents("few", document, document, 3, true);
    token_batch by_token, by_source;
    data.sample(0, 64, by_token);
    data.add_losses_by(mix_loss::by_source);
    data.sample(0, 64, by_source);
    CHECK(by_token.tokens == by_source.tokens);
    const auto one = [](std::size_t) { return 1.0; };
    const auto before = by_token.sums_by_source(2, one), after = by_source.sums_by_source(2, one);
    CHECK(before[1] < 2 * before[0]);
    CHECK(std::abs(after[1] / after[0] - 3) < 1e-5);
    CHECK(std::abs(after[0] + after[1] - before[0] - before[1]) < 1e-5 * (before[0] + before[1]));
    for (std::size_t i = 0; i < by_token.weights.size(); ++i) {  // within a source all weights change alike
        const double factor = after[by_token.sources[i / 8]] / before[by_token.sources[i / 8]];
        CHECK(std::abs(by_source.weights[i] - factor * by_token.weights[i]) < 1e-5);
    }
}
