"""Titles of the generated videos: words by category, and patterns."""

from __future__ import annotations

import numpy as np

#: Words by category, from which each of its topics takes a few.
WORDS: dict[str, str] = {
    "Animals": "kitten puppy parrot aquarium rescue hamster horse wildlife habitat beehive "
    "hedgehog otter falcon terrarium gecko safari penguin shelter groomer "
    "veterinarian burrow nest paw tail",
    "Cars": "engine turbo hatchback restoration gearbox rally brakes paintwork roadster dyno "
    "garage electric charging suspension tyres exhaust pickup classic convertible "
    "racetrack pitstop clutch chassis detailing",
    "Comedy": "sketch parody standup prank improv roast blooper satire neighbour roommate "
    "awkward wedding office impressions punchline heckler sitcom clown deadpan mishap "
    "caricature farce wig tantrum",
    "Cooking": "sourdough noodles curry barbecue pastry dumplings knife marinade fermentation "
    "salad soup chocolate brunch grill risotto pickles caramel wok tofu oven spice "
    "broth tortilla glaze",
    "Documentary": "archive expedition island empire glacier archaeology shipwreck dynasty volcano "
    "railway cathedral desert monastery rebellion lighthouse canal fortress treaty "
    "nomads harbour ruins pilgrim quarry legend",
    "Fitness": "squat yoga mobility sprint kettlebell stretching marathon pushups plank recovery "
    "posture deadlift pilates intervals treadmill rowing core balance breathing "
    "warmup handstand endurance cardio flexibility",
    "Gaming": "speedrun boss dungeon sandbox crafting shooter strategy quest loot multiplayer "
    "retro puzzle arena patch emulator racing stealth tournament pixel skyblock raid "
    "loadout sniper platformer",
    "Garden": "compost seedlings tomato orchard pruning greenhouse bonsai lawn mulch trellis "
    "roses succulents raised irrigation beehives cuttings hedge herbs bulbs "
    "wildflower pond soil fern harvest",
    "Music": "guitar chords synth vinyl drummer remix melody concert chorus bassline piano "
    "acoustic orchestra rehearsal lyrics ballad sampler violin harmony festival "
    "studio rhythm solo encore",
    "News": "election budget summit inflation court housing strike minister debate referendum "
    "border energy parliament tariff climate protest census reform inquiry coalition "
    "verdict briefing mayor turnout",
    "Science": "quantum telescope genome asteroid neuron enzyme particle fossil vaccine laser "
    "magnet orbit catalyst microbe gravity plasma isotope supernova protein tectonic "
    "photon entropy membrane comet",
    "Sports": "penalty playoff dribble goalkeeper serve sprinter medal transfer derby knockout "
    "volley relay striker referee comeback rebound pitcher slalom peloton wicket "
    "final coach league stadium",
    "Tech": "laptop router keyboard compiler smartphone robotics drone battery firmware "
    "sensor display soldering server encryption chip headset browser python database "
    "antenna printer benchmark camera monitor",
    "Travel": "backpack hostel ferry mountain market temple beach passport train sunrise "
    "village camper streetfood museum fjord jungle island airport caravan waterfall "
    "bazaar vineyard lagoon trail",
}

_PATTERNS = (
    "{a} and {b}, step by step",
    "Everything about {a}",
    "{a} versus {b}",
    "Why {a} matters for {b}",
    "My first {a}",
    "The {b} that changed {a}",
    "Ten minutes of {a} and {b}",
    "{a}: what nobody told me",
    "From {b} to {a}",
    "A week with {a}",
)
_SERIES = ("Inside", "Daily", "Beyond", "Secret", "Little", "Grand", "Honest", "Slow")


def topic_words(rng: np.random.Generator, topics: int) -> list[list[list[str]]]:
    """[category][topic] → eight words; topics of a category may share some."""
    chosen = []
    for words in WORDS.values():
        pool = words.split()
        chosen.append(
            [[pool[j] for j in rng.choice(len(pool), 8, replace=False)] for _ in range(topics)]
        )
    return chosen


def title(words: list[str], draw: tuple[int, int, int]) -> str:
    """A title with two of the words."""
    a, b = words[draw[0] % 8], words[(draw[0] + 1 + draw[1] % 7) % 8]
    text = _PATTERNS[draw[2] % len(_PATTERNS)].format(a=a, b=b)
    return text[0].upper() + text[1:]


def episode(words: list[str], series: int, number: int, draw: tuple[int, int, int]) -> str:
    """A title with the name of its series, with which all its episodes begin."""
    name = f"{_SERIES[series % len(_SERIES)]} {words[series // len(_SERIES) % 8].capitalize()}"
    return f"{name} #{number}: {words[draw[0] % 8]} and {words[(draw[0] + 1 + draw[1] % 7) % 8]}"
