// Three-letter English words for the copying tasks.
// Assumes nothing; the list is ours, in alphabetical order and without repetition.
// Source of the tasks: Saunshi et al. 2024, section 5.
#pragma once

#include <cstddef>
#include <string_view>

namespace depthgrow {

/// Common three-letter words, each followed by one space.
inline constexpr std::string_view three_letter_word_list =
    "ace act add ado age ago aid aim air ale all and ant any ape apt arc are ark arm art ash ask ate awe axe "
    "bad bag ban bar bat bay bed bee beg bet bib bid big bin bit boa bob bog bow box boy bud bug bun bus but buy "
    "cab can cap car cat caw cob cod cog con coo cop cot cow coy cry cub cud cue cup cur cut "
    "dab dad dam day den dew did dig dim din dip doe dog don dot dry dub due dug duo dye "
    "ear eat ebb eel egg ego elf elk elm end era eve ewe eye "
    "fad fan far fat fax fed fee few fib fig fin fir fit fix flu fly foe fog for fox fry fun fur "
    "gag gap gas gel gem get gig gin god got gum gun gut guy gym "
    "had hag ham has hat hay hem hen her hew hex hid him hip his hit hob hog hop hot how hub hue hug hum hut "
    "ice icy ilk ill imp ink inn ion ire irk its ivy "
    "jab jam jar jaw jay jet jig job jog jot joy jug keg ken key kid kin kit "
    "lab lad lag lap law lax lay led leg let lid lie lip lit lob log lot low lug "
    "mad man map mar mat maw may men met mid mix mob mop mow mud mug mum "
    "nab nag nap net new nib nil nip nod nor not now nub nun nut "
    "oak oar oat odd ode off oil old one opt orb ore our out owe owl own "
    "pad pal pan par pat paw pay pea peg pen pep per pet pew pie pig pin pit ply pod pop pot pro pry pub pun pup put "
    "rag ram ran rap rat raw ray red rib rid rig rim rip rob rod roe rot row rub rug rum run rut rye "
    "sad sag sap sat saw say sea see set sew she shy sin sip sir sit six ski sky sly sob sod son sow soy spa spy sub "
    "sue sum sun "
    "tab tag tan tap tar tax tea ten the thy tie tin tip toe ton too top tow toy try tub tug two "
    "urn use van vat vet vex via vie vow wag war was wax way web wed wet who why wig win wit woe wok won woo "
    "yak yam yap yes yet yew you zap zip zoo ";

inline constexpr std::size_t three_letter_word_count = three_letter_word_list.size() / 4;

/// Word `index` of the list.
constexpr std::string_view three_letter_word(std::size_t index) { return three_letter_word_list.substr(4 * index, 3); }

}  // namespace depthgrow
