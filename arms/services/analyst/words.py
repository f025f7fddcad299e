"""English words that carry no topic; the list was written for this project."""

from __future__ import annotations

_STOP_WORDS = """
    a about above actually after afterwards again against ago ain't all almost along
    already also although always am among an and another any anybody anyone anything
    anyway anywhere are aren't around as at away back be became because become becomes
    been before behind being below beside besides between beyond both but by came can
    can't cannot come comes could couldn't did didn't do does doesn't doing don't done
    down during each either else enough especially etc even ever every everybody
    everyone everything everywhere except few for from further gave get gets getting
    give given gives go goes going gone got had hadn't has hasn't have haven't having he
    he'd he'll he's hence her here here's hers herself him himself his how however i i'd
    i'll i'm i've if in indeed instead into is isn't it it'd it'll it's its itself just
    keep keeps kept last least less let let's like likely little made make makes making
    many may maybe me mean might mine more most mostly much must my myself near nearly
    need neither never nevertheless no nobody none nor not nothing now nowhere of off
    often oh ok okay on once one ones only onto or other others otherwise ought our ours
    ourselves out over own per perhaps put puts quite rather really said same saw say
    says see seem seemed seems seen several shall she she'd she'll she's should
    shouldn't since so some somebody someone something sometimes somewhere somewhat soon
    still such take taken takes than that that'll that's the their theirs them
    themselves then there there's therefore these they they'd they'll they're they've
    thing things this those though through throughout thus till to together too took
    toward towards tried try under unless until up upon us use used uses using usually
    very via was wasn't way we we'd we'll we're we've well went were weren't what
    what's whatever when whenever where whereas wherever whether which while who who's
    whoever whole whom whose why will with within without won't would wouldn't yes yet
    you you'd you'll you're you've your yours yourself yourselves
    """
STOP_WORDS = frozenset(_STOP_WORDS.split())
