"""English words that carry no topic; the list was written for this project."""

from __future__ import annotations

_STOP_WORDS = """
    a able about above actually after afterwards again against ago ain't all almost
    along already also although always am among an and another any anybody anyone
    anything anyway anywhere are aren't around as at away back bad be became because
    become becomes been before behind being below beside besides best better between
    beyond big bit both bought but buy buying by came can can't cannot come comes
    could couldn't day days did didn't different do does doesn't doing don't done
    down during each early eight either eleven else enough especially etc even
    evening ever every everybody everyone everything everywhere except feel feels
    few fifth find finds fine first five for found four fourth from full further
    gave get gets getting give given gives go goes going gone good got great had
    hadn't half has hasn't have haven't having he he'd he'll he's hence her here
    here's hers herself him himself his hour hours how however hundred i i'd i'll
    i'm i've if in indeed instead into is isn't it it'd it'll it's its itself just
    keep keeps kept know knows last later least left less let let's like likely
    little look looked looking looks lot lots made make makes making man many may
    maybe me mean might mine minute minutes month months more morning most mostly
    much must my myself near nearly need neither never nevertheless new next nice
    night nine no nobody none nor not nothing now nowhere of off often oh ok okay
    old on once one ones only onto or other others otherwise ought our ours
    ourselves out over own people per perhaps person previous put puts quite rather
    really right said same saw say says second see seem seemed seems seen seven
    several shall she she'd she'll she's should shouldn't since six so some somebody
    someone something sometimes somewhat somewhere soon still such sure take taken
    takes ten than that that'll that's the their theirs them themselves then there
    there's therefore these they they'd they'll they're they've thing things think
    third this those though thought thousand three through throughout thus till time
    times to today together tomorrow tonight too took toward towards tried try
    twelve twenty twice two under unless until up upon us use used uses using
    usually very via want wanted wants was wasn't way we we'd we'll we're we've week
    weeks well went were weren't what what's whatever when whenever where whereas
    wherever whether which while who who's whoever whole whom whose why will with
    within without woman won't work worked working works worse worst would wouldn't
    year years yes yesterday yet you you'd you'll you're you've your yours yourself
    yourselves
    """
STOP_WORDS = frozenset(_STOP_WORDS.split())
