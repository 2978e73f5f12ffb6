// Phonemes of words, by the program espeak-ng, which runs beside this process for as long as the object lives. Linked
// against nothing of it (it is GPL-3.0), no shell.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace pajamas {

enum class PhonemizerProcess {
  kKept,     ///< One for all clauses; where the system has no pseudo-terminals, as kOneEach.
  kOneEach,  ///< One for each clause.
};

/// espeak-ng with a voice. Use from one thread at a time.
class Phonemizer {
 public:
  /// Starts `program` (a name on PATH, or a path) with a voice of it ("en-us"). Throws Error{kDeviceMissing} saying how
  /// to install it, where it cannot be started or does not know the voice.
  Phonemizer(const std::string& voice, const std::string& program,
             PhonemizerProcess process = PhonemizerProcess::kKept);
  /// Ends and reaps what runs.
  ~Phonemizer();
  Phonemizer(const Phonemizer&) = delete;
  Phonemizer& operator=(const Phonemizer&) = delete;

  /// IPA of one clause as espeak-ng writes it, marks of other languages "(en)" left out; empty where it has nothing to
  /// say. Line breaks count as blanks. Throws Error{kInternal} when the program ended or did not answer within 30 s;
  /// every later call throws then, too.
  std::string phonemes_of(std::string_view clause);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pajamas
