// Files and directories that appear whole or not at all, also when the disk is full or the writer is killed.
#include "depthgrow/io/atomic_file.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <stdexcept>
#include <thread>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::content_of;
using temporary::entries;
using temporary::refusal;

namespace {

/// While alive, no file of this process grows beyond `bytes`: a disk that is full.
struct full_disk {
    explicit full_disk(rlim_t bytes) : handler(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before);
        rlimit limit = before;
        limit.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~full_disk() {
        ::setrlimit(RLIMIT_FSIZE, &before);
        std::signal(SIGXFSZ, handler);
    }
    rlimit before{};
    void (*handler)(int);
};

}  // namespace

TEST_CASE("a file appears at commit, not before") {
    const temporary::folder folder;
    const auto path = folder.path / "a.txt";
    atomic_file file(path);
    file.write("hello ");
    file.write("world");
    CHECK_FALSE(std::filesystem::exists(path));
    file.commit();
    CHECK(content_of(path) == "hello world");
    CHECK(entries(folder.path) == 1);
}

TEST_CASE("a file that is not committed leaves the old one and nothing else") {
    const temporary::folder folder;
    const auto path = folder.file("a.txt", "old");
    {
        atomic_file file(path);
        file.write("new and longer");
    }
    CHECK(content_of(path) == "old");
    CHECK(entries(folder.path) == 1);
}

TEST_CASE("positions are written in any order") {
    const temporary::folder folder;
    atomic_file file(folder.path / "a");
    file.write_at(3, "def", 3);
    file.write_at(0, "abc", 3);
    file.write("ghi");
    file.commit();
    CHECK(content_of(folder.path / "a") == "abcdefghi");
}

TEST_CASE("a full disk throws, removes what was begun and leaves the old file") {
    const temporary::folder folder;
    const auto path = folder.file("model.bin", "the last good one");
    std::string sentence;
    {
        const full_disk limit(1000);
        sentence = refusal([&] { write_file(path, std::string(5000, 'x')); });
    }
    CHECK(temporary::says(sentence, "model.bin: expected to write it whole, found: "));
    CHECK(content_of(path) == "the last good one");
    CHECK(entries(folder.path) == 1);
}

TEST_CASE("a full disk leaves the last good directory") {
    const temporary::folder folder;
    const auto path = folder.path / checkpoint_name(7);
    {
        atomic_directory first(path);
        write_file(first.path() / "a", "good");
        first.commit();
    }
    {
        const full_disk limit(1000);
        CHECK(refusal([&] {
                  atomic_directory second(path);
                  write_file(second.path() / "a", std::string(5000, 'x'));
                  second.commit();
              }) != "nothing thrown");
    }
    CHECK(content_of(path / "a") == "good");
    CHECK(entries(folder.path) == 1);
}

TEST_CASE("a folder that cannot be written to is a sentence") {
    const temporary::folder folder;
    const std::string sentence = refusal([&] { write_file(folder.path / "none" / "a", "x"); });
    CHECK(temporary::says(sentence, "a: expected to write it whole, found: No such file or directory"));
}

TEST_CASE("a directory appears whole, replaces an older one, and is gone when its writer fails") {
    const temporary::folder folder;
    const auto path = folder.path / "step-00000001";
    for (const char* content : {"one", "two"}) {
        atomic_directory directory(path);
        write_file(directory.path() / "a", content);
        CHECK((std::string(content) == "two") == std::filesystem::exists(path));
        directory.commit();
        CHECK(content_of(path / "a") == content);
    }
    try {
        atomic_directory directory(path);
        write_file(directory.path() / "a", "three");
        throw std::runtime_error("the writer fails");
    } catch (const std::runtime_error&) {}
    CHECK(content_of(path / "a") == "two");
    CHECK(entries(folder.path) == 1);
}

TEST_CASE("leftovers of killed writers are cleared and what they had moved aside comes back") {
    const temporary::folder folder;
    for (const char* name : {".tmp-step-00000003", ".old-step-00000002", ".old-step-00000001", "step-00000001"}) {
        std::filesystem::create_directories(folder.path / name);
        write_file(folder.path / name / "a", name);
    }
    folder.file(".tmp-model.safetensors", "half");
    clean_leftovers(folder.path);
    CHECK(entries(folder.path) == 2);
    CHECK(content_of(folder.path / "step-00000001" / "a") == "step-00000001");
    CHECK(content_of(folder.path / "step-00000002" / "a") == ".old-step-00000002");
}

TEST_CASE("a writer killed at any moment leaves a whole checkpoint") {
    const temporary::folder folder;
    const std::string large(200000, 'x');
    const auto save = [&](std::uint64_t step) {
        atomic_directory directory(folder.path / checkpoint_name(step));
        write_file(directory.path() / "a", std::to_string(step) + large);
        write_file(directory.path() / "b", std::to_string(step) + large);
        directory.commit();
        keep_checkpoints(folder.path, 1);
    };
    save(0);
    for (unsigned round = 0; round < 15; ++round) {
        const pid_t child = ::fork();
        if (child == 0) {
            for (std::uint64_t step = 1; step < 100000; ++step) save(step % 3);  // new ones and replaced ones
            ::_exit(0);
        }
        ::usleep(1000 + 1700 * round);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        clean_leftovers(folder.path);
        const auto newest = latest_checkpoint(folder.path);
        REQUIRE(newest.has_value());
        const std::string expected = std::to_string(newest->step) + large;
        CHECK(content_of(newest->path / "a") == expected);
        CHECK(content_of(newest->path / "b") == expected);
    }
}

TEST_CASE("a writer killed while it replaces a checkpoint leaves a whole one") {
    const temporary::folder folder;
    const auto path = folder.path / checkpoint_name(1);
    const auto save = [&](int number) {
        atomic_directory directory(path);
        for (int i = 0; i < 20; ++i) write_file(directory.path() / std::to_string(i), std::to_string(number));
        directory.commit();
    };
    save(0);
    const pid_t child = ::fork();
    if (child == 0) {
        for (int number = 1; number < 1000; ++number) save(number);
        ::_exit(0);
    }
    bool seen = false;  // the old one, moved aside
    for (int status = 0; !seen && ::waitpid(child, &status, WNOHANG) == 0;)
        seen = std::filesystem::exists(folder.path / (".old-" + checkpoint_name(1)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(seen);
    clean_leftovers(folder.path);
    REQUIRE(latest_checkpoint(folder.path).has_value());
    CHECK(entries(path) == 20);
    for (int i = 1; i < 20; ++i) CHECK(content_of(path / std::to_string(i)) == content_of(path / "0"));
}

TEST_CASE("checkpoints are listed by step, other names are passed over, the oldest go first") {
    const temporary::folder folder;
    CHECK_FALSE(latest_checkpoint(folder.path / "none").has_value());
    for (std::uint64_t step : {120u, 5u, 99999999u, 100000000u})
        std::filesystem::create_directories(folder.path / checkpoint_name(step));
    std::filesystem::create_directories(folder.path / "step-notes00");
    folder.file("step-00000007", "a file");
    CHECK(checkpoint_name(120) == "step-00000120");
    const auto found = list_checkpoints(folder.path);
    REQUIRE(found.size() == 4);
    CHECK(found[0].step == 5);
    CHECK(found[3].step == 100000000);
    keep_checkpoints(folder.path, 2);
    CHECK(list_checkpoints(folder.path).front().step == 99999999);
    keep_checkpoints(folder.path, 0);
    CHECK(latest_checkpoint(folder.path)->step == 100000000);
}

TEST_CASE("a published file is there at once and again") {
    const temporary::folder folder;
    const auto from = folder.file("from", "one"), to = folder.path / "to";
    publish_file(from, to);
    CHECK(content_of(to) == "one");
    publish_file(from, to);
    write_file(from, "two");
    CHECK(content_of(to) == "one");
    publish_file(from, to);
    CHECK(content_of(to) == "two");
    CHECK(entries(folder.path) == 2);
}

TEST_CASE("a link to a file stays, and the file that it leads to is replaced") {
    const temporary::folder folder;
    const auto file = folder.file("a.txt", "old");
    std::filesystem::create_symlink("a.txt", folder.path / "link");
    std::filesystem::create_symlink(folder.path / "link", folder.path / "second");
    write_file(folder.path / "second", "new");
    CHECK(std::filesystem::is_symlink(folder.path / "link"));
    CHECK(std::filesystem::is_symlink(folder.path / "second"));
    CHECK(content_of(file) == "new");
    CHECK(entries(folder.path) == 3);
}

TEST_CASE("a FIFO and a link to a device are written into and stay what they are") {
    const temporary::folder folder;
    const auto fifo = folder.path / "fifo", null = folder.path / "null";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    std::string read;
    std::thread reader([&] { read = content_of(fifo); });
    write_file(fifo, "through the pipe");
    reader.join();
    CHECK(read == "through the pipe");
    CHECK(std::filesystem::is_fifo(fifo));
    std::filesystem::create_symlink("/dev/null", null);
    write_file(null, "for nobody");
    CHECK(std::filesystem::is_symlink(null));
    CHECK(std::filesystem::is_character_file("/dev/null"));
    CHECK(entries(folder.path) == 2);
}

TEST_CASE("positions of what is written into are put in order first") {
    const temporary::folder folder;
    const auto fifo = folder.path / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    std::string read;
    std::thread reader([&] { read = content_of(fifo); });
    atomic_file file(fifo);
    file.write_at(3, "def", 3);
    file.write_at(0, "abc", 3);
    file.write("ghi");
    file.commit();
    reader.join();
    CHECK(read == "abcdefghi");
}

TEST_CASE("a reader that goes away is a sentence and no signal") {
    const temporary::folder folder;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    const auto name = "/proc/self/fd/" + std::to_string(ends[1]);
    CHECK(temporary::says(refusal([&] { write_file(name, "x"); }), "expected to write all of it, found: Broken pipe"));
    ::close(ends[1]);
}

TEST_CASE("a name of an open descriptor is written into where it stands") {
    const temporary::folder folder;
    const auto file = folder.path / "out.txt";
    const int handle = ::open(file.c_str(), O_WRONLY | O_CREAT, 0600);
    REQUIRE(::write(handle, "before, ", 8) == 8);
    std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(handle), folder.path / "link");
    write_file(folder.path / "link", "after");
    ::close(handle);
    CHECK(content_of(file) == "before, after");
    CHECK(std::filesystem::is_symlink(folder.path / "link"));
}

TEST_CASE("names that no file can have are refused, and nothing is left") {
    const temporary::folder folder;
    std::filesystem::create_directory(folder.path / "folder");
    std::filesystem::create_symlink("nowhere", folder.path / "dangling");
    std::filesystem::create_symlink("circle", folder.path / "circle");
    const auto sentence = [&](const std::string& name) {
        return refusal([&] { write_file(folder.path / name, "x"); });
    };
    CHECK(temporary::says(sentence("folder"), "expected a file, found a directory"));
    CHECK(temporary::says(sentence("folder/"), "expected a file, found the name of a directory"));
    CHECK(temporary::says(sentence("dangling"), "expected a file, found a link that leads nowhere"));
    CHECK(temporary::says(sentence("circle"), "expected a file, found links that lead in a circle"));
    CHECK(temporary::says(sentence(std::string(251, 'n')), "expected names of at most 250 bytes, found one of 251"));
    CHECK(sentence(std::string(250, 'n')) == "nothing thrown");
    CHECK(entries(folder.path) == 4);
}

TEST_CASE("a directory's name may end in a slash or a dot") {
    const temporary::folder folder;
    for (const char* name : {"a/", "b//", "c/.", "d/./"}) {
        atomic_directory directory(folder.path / name);
        write_file(directory.path() / "x", name);
        directory.commit();
    }
    for (const char* name : {"a", "b", "c", "d"}) CHECK(std::filesystem::exists(folder.path / name / "x"));
    CHECK(entries(folder.path) == 4);
    for (const char* name : {"", ".", "..", "a/..", "/", "./"})
        CHECK(refusal([&] { output_directory(name); }) != "nothing thrown");
    CHECK(temporary::says(refusal([&] { output_directory(std::string(300, 'n')); }), "found one of 300"));
    CHECK(temporary::says(refusal([&] {
                              std::string deep;
                              for (int i = 0; i < 50; ++i) deep += std::string(100, 'n') + "/";
                              output_directory(deep);
                          }),
                          "expected a path of at most"));
}

TEST_CASE("a directory that is not committed leaves none of the folders around it") {
    const temporary::folder folder;
    { const atomic_directory directory(folder.path / "a" / "b" / "c"); }
    CHECK(entries(folder.path) == 0);
    {
        atomic_directory directory(folder.path / "a" / "b");
        directory.commit();
    }
    CHECK(std::filesystem::is_directory(folder.path / "a" / "b"));
}
