"""Word problem templates: T(variables, stories, asks, steps, answer).

variables: "a=2..9" draws a whole number, "c=a*b" computes, "a!=b" (any comparison) must hold or all is drawn again.
stories x asks are the variants of a template. Steps are a function of the numbers alone, so every question has one right answer text.
{N} {M} people, {he} {his} {him} pronouns of N ({He}, {His} capitalised), {o} {p} plural things, {f} a place, {d} a day.
"""
TEMPLATES = []


def T(variables, stories, asks, steps, answer):
    TEMPLATES.append((variables, stories, asks, steps, answer))


# one step
T("a=3..99; b=2..99; c=a+b",
  ["{N} has {a} {o}. {M} gives {him} {b} more {o}.", "{N} collected {a} {o} in the morning and {b} {o} in the afternoon."],
  ["How many {o} does {N} have now?", "How many {o} does {N} have in total?"],
  ["{N} has {a} + {b} = {c} {o}."], "c")
T("a=10..150; b=2..99; b<a; c=a-b",
  ["{N} had {a} {o}. {He} gave {b} {o} to {M}.", "There were {a} {o} on the shelf. {N} took {b} of them away, and the rest belong to {him}."],
  ["How many {o} does {N} have left?", "How many {o} are left for {N}?"],
  ["{N} has {a} - {b} = {c} {o} left."], "c")
T("a=2..12; b=2..12; c=a*b",
  ["{N} has {a} boxes. Each box holds {b} {o}.", "{N} fills {a} bags and puts {b} {o} in each bag."],
  ["How many {o} does {N} have?", "What is the number of {o} that {N} has in all?"],
  ["{N} has {a} * {b} = {c} {o}."], "c")
T("b=2..12; c=2..12; a=b*c",
  ["{N} has {a} {o} and shares them equally among {b} friends.", "{N} divides {a} {o} into {b} equal piles, one for each of {his} friends."],
  ["How many {o} does each friend get?", "How many {o} are there for each friend?"],
  ["Each friend gets {a} / {b} = {c} {o}."], "c")
T("a=3..60; b=2..40; c=a+b",
  ["{N} is {a} years old. {M} is {b} years older than {N}.", "{M} was born {b} years before {N}, and {N} is {a} years old."],
  ["How old is {M}?", "What is the age of {M} in years?"],
  ["{M} is {a} + {b} = {c} years old."], "c")
T("a=2..12; c=a*60",
  ["{N} works in the garden for {a} hours on {d}.", "On {d}, {N} spends {a} hours at the {f}."],
  ["How many minutes is that?", "How long is that in minutes?"],
  ["There are 60 minutes in an hour, so this is {a} * 60 = {c} minutes."], "c")
T("a=2..15; c=a*7",
  ["{N} goes on a trip that lasts {a} weeks.", "The holidays of {N} last {a} weeks."],
  ["How many days is that?", "How long is that in days?"],
  ["There are 7 days in a week, so this is {a} * 7 = {c} days."], "c")
T("a=12..90; b=12..90; a<b; c=b-a",
  ["{N} has {a} {o} and {M} has {b} {o}.", "At the {f}, {N} counts {a} {o} while {M} counts {b} {o}."],
  ["How many more {o} does {M} have than {N}?", "What is the difference between the number of {o} of {M} and of {N}?"],
  ["The difference is {b} - {a} = {c} {o}."], "c")
T("b=2..9; c=3..40; a=b*c",
  ["A rope of {a} meters is cut into {b} pieces of the same length.", "{N} cuts a ribbon that is {a} meters long into {b} equal parts."],
  ["How many meters long is each piece?", "What is the length of one piece in meters?"],
  ["Each piece is {a} / {b} = {c} meters long."], "c")
T("a=4..20; b=3..15; c=2*a; e=2*b; g=c+e",
  ["The {f} has a garden that is {a} meters long and {b} meters wide.", "{N} builds a fence around a field of {a} meters by {b} meters."],
  ["What is the perimeter in meters?", "How many meters is it all the way around?"],
  ["The two long sides are 2 * {a} = {c} meters.", "The two short sides are 2 * {b} = {e} meters.", "In total that is {c} + {e} = {g} meters."], "g")
# two steps
T("a=2..12; b=2..12; c=a*b; e=2..60; e<c; g=c-e",
  ["{N} buys {a} boxes with {b} {o} in each box. {He} gives {e} {o} to {M}.",
   "{N} packs {a} bags of {b} {o}. Later {he} loses {e} {o} on the way to the {f}."],
  ["How many {o} does {N} have left?", "How many {o} remain?"],
  ["At first there are {a} * {b} = {c} {o}.", "After that {c} - {e} = {g} {o} are left."], "g")
T("a=2..12; b=2..12; c=a*b; e=2..60; g=c+e",
  ["{N} has {a} jars with {b} {o} in each jar, and {e} more {o} on the table.",
   "{N} finds {e} {o} at home. Then {he} buys {a} packs with {b} {o} in each pack."],
  ["How many {o} does {N} have in total?", "How many {o} are there altogether?"],
  ["In the containers there are {a} * {b} = {c} {o}.", "Together with the others there are {c} + {e} = {g} {o}."], "g")
T("a=5..60; b=5..60; c=5..60; e=a+b; g=e+c",
  ["{N} picked {a} {o} on Monday, {b} {o} on Tuesday and {c} {o} on Wednesday.",
   "{N} has {a} {o}, {M} has {b} {o} and a friend of theirs has {c} {o}."],
  ["How many {o} is that in total?", "How many {o} are there altogether?"],
  ["The first two amounts make {a} + {b} = {e} {o}.", "With the third that is {e} + {c} = {g} {o}."], "g")
T("a=20..120; b=3..50; c=3..50; b+c<a; e=a-b; g=e-c",
  ["{N} had {a} {o}. {He} sold {b} {o} in the morning and {c} {o} in the afternoon.",
   "There are {a} {o} at the {f}. {N} takes {b} of them and {M} takes {c} of them."],
  ["How many {o} are left?", "How many {o} remain at the end?"],
  ["After the first part there are {a} - {b} = {e} {o}.", "After the second part there are {e} - {c} = {g} {o}."], "g")
T("a=20..120; b=3..50; b<a; c=3..80; e=a-b; g=e+c",
  ["A bus has {a} people on it. At the {f}, {b} people get off and {c} people get on.",
   "There were {a} people at the {f}. Then {b} people left and {c} people arrived."],
  ["How many people are there now?", "What is the number of people after that?"],
  ["After {b} people leave there are {a} - {b} = {e} people.", "Then there are {e} + {c} = {g} people."], "g")
T("a=2..9; b=2..12; c=2..9; e=2..12; g=a*b; h=c*e; i=g+h",
  ["{N} buys {a} {o} for ${b} each and {c} {p} for ${e} each.",
   "At the {f}, one of the {o} costs ${b} and one of the {p} costs ${e}. {N} buys {a} {o} and {c} {p}."],
  ["How many dollars does {N} spend?", "How much does {N} pay in total?"],
  ["The {o} cost {a} * {b} = {g} dollars.", "The {p} cost {c} * {e} = {h} dollars.", "In total {N} pays {g} + {h} = {i} dollars."], "i")
T("a=2..9; b=2..12; c=a*b; e=[20,50,100]; c<e; g=e-c",
  ["{N} buys {a} {o} that cost ${b} each. {He} pays with a ${e} bill.",
   "{N} has ${e}. {He} buys {a} {o} at the {f} for ${b} each."],
  ["How many dollars does {N} get back?", "How much money does {N} have after that?"],
  ["The {o} cost {a} * {b} = {c} dollars.", "{N} has {e} - {c} = {g} dollars left."], "g")
T("a=5..25; b=2..9; c=a*b; e=2..50; g=c+e",
  ["{N} earns ${a} an hour. On {d} {he} works {b} hours and gets a tip of ${e}.",
   "{N} works for {b} hours at the {f} for ${a} an hour, and finds ${e} on the way home."],
  ["How many dollars does {N} have from that day?", "How much money does {N} get that day?"],
  ["For the work {N} gets {a} * {b} = {c} dollars.", "With the rest it is {c} + {e} = {g} dollars."], "g")
T("a=4..60; c=2*a; e=a+c",
  ["{N} has {a} {o}. {M} has twice as many {o} as {N}.", "{N} found {a} {o} on {d}, and {M} found two times as many."],
  ["How many {o} do they have together?", "How many {o} is that for both of them?"],
  ["{M} has 2 * {a} = {c} {o}.", "Together they have {a} + {c} = {e} {o}."], "e")
T("a=3..30; b=3..6; c=b*a; e=a+c",
  ["{N} has {a} {o}. {M} has {b} times as many {o}.", "{M} owns {b} times as many {o} as {N}, who owns {a} {o}."],
  ["How many {o} do {N} and {M} have together?", "How many {o} do the two have in all?"],
  ["{M} has {b} * {a} = {c} {o}.", "Together they have {a} + {c} = {e} {o}."], "e")
T("c=3..60; a=2*c; e=a+c",
  ["{N} has {a} {o}. {M} has half as many {o} as {N}.", "{N} read {a} pages on {d}. {M} read half of that number."],
  ["What number do both have together?", "How many is that for {N} and {M} together?"],
  ["{M} has {a} / 2 = {c}.", "Together that is {a} + {c} = {e}."], "e")
T("c=2..40; b=2..6; a=b*c; e=a-c",
  ["{N} has {a} {o}. One out of every {b} of them is red.", "There are {a} {o} in a box and 1 of every {b} is broken."],
  ["How many {o} are like the others?", "How many {o} are not like that?"],
  ["That is true of {a} / {b} = {c} {o}.", "The others are {a} - {c} = {e} {o}."], "e")
T("c=2..50; a=2*c; e=2..30; e<c; g=c-e",
  ["{N} has {a} {o}. {He} gives half of them to {M} and then loses {e} {o}.",
   "Half of the {a} {o} of {N} are sold at the {f}. {N} also gives {e} {o} to {M}."],
  ["How many {o} does {N} have left?", "How many {o} does {N} still have?"],
  ["Half of the {o} is {a} / 2 = {c} {o}.", "Then {N} has {c} - {e} = {g} {o}."], "g")
T("a=5..40; b=2..30; c=a+b; e=a+c",
  ["{N} has {a} {o}. {M} has {b} more {o} than {N}.", "{M} baked {b} more cakes than {N}, and {N} baked {a} cakes."],
  ["How many do they have together?", "How many is that for both?"],
  ["{M} has {a} + {b} = {c}.", "Together they have {a} + {c} = {e}."], "e")
T("a=10..60; b=2..30; b<a; c=a-b; e=a+c",
  ["{N} has {a} {o}. {M} has {b} fewer {o} than {N}.", "{N} scored {a} points in the game. {M} scored {b} points fewer."],
  ["How many do they have together?", "How many is that for both?"],
  ["{M} has {a} - {b} = {c}.", "Together they have {a} + {c} = {e}."], "e")
T("a=2..9; b=2..9; c=a*b; g=2..12; h=c*g",
  ["{N} has {a} shelves with {b} boxes on each shelf. Every box holds {g} {o}.",
   "At the {f} there are {a} rooms. Each room has {b} tables, and there are {g} {o} on each table."],
  ["How many {o} are there in all?", "What is the total number of {o}?"],
  ["There are {a} * {b} = {c} places for {o}.", "So there are {c} * {g} = {h} {o}."], "h")
T("a=2..9; b=5..40; c=a*b; e=2..9; g=c*e; c<120",
  ["{N} runs {b} minutes a day on {a} days of the week.", "{N} reads {b} pages a day on {a} days of every week."],
  ["How many is that in {e} weeks?", "What is the total for {e} weeks?"],
  ["In one week that is {a} * {b} = {c}.", "In {e} weeks it is {c} * {e} = {g}."], "g")
T("b=2..9; e=2..12; c=b*e; g=3..60; h=c+g; a=h",
  ["{N} has {a} {o}. {He} keeps {g} {o} and shares the rest equally among {b} friends.",
   "Out of {a} {o}, {N} gives {g} to {M}. The rest goes into {b} equal boxes for friends."],
  ["How many {o} does each friend get?", "How many {o} are there for each friend?"],
  ["There are {a} - {g} = {c} {o} to share.", "Each friend gets {c} / {b} = {e} {o}."], "e")
T("b=2..9; e=2..15; c=b*e; a=2..60; a<c; g=c-a",
  ["{N} and {M} have {a} {o} and find {g} more. They share all of them equally among {b} children.",
   "{N} buys {a} {o} and {M} buys {g} {o}. All of them are divided equally among {b} children."],
  ["How many {o} does each child get?", "How many {o} are there for each child?"],
  ["Together there are {a} + {g} = {c} {o}.", "Each child gets {c} / {b} = {e} {o}."], "e")
T("a=40..90; b=2..8; c=a*b; e=10..90; g=c+e",
  ["A car drives {b} hours at {a} miles an hour. After a break it drives {e} more miles.",
   "{N} drives at {a} miles an hour for {b} hours, and then {M} drives {e} miles more."],
  ["How many miles is that in total?", "How long is the trip in miles?"],
  ["The first part is {a} * {b} = {c} miles.", "The whole trip is {c} + {e} = {g} miles."], "g")
T("a=2..9; b=20..70; c=a*b; e=20..99; g=c+e; g<800; h=g-c",
  ["A trip is {g} miles long. {N} drives {a} hours at {b} miles an hour.",
   "{N} has to go {g} miles to the {f} and travels for {a} hours at {b} miles an hour."],
  ["How many miles are still to go?", "How many miles remain?"],
  ["{N} has driven {a} * {b} = {c} miles.", "There are {g} - {c} = {h} miles to go."], "h")
T("b=2..9; c=3..30; a=b*c; e=2..9; g=c*e",
  ["A machine makes {a} {o} in {b} hours.", "{N} can pack {a} {o} in {b} hours."],
  ["How many {o} is that in {e} hours at the same speed?", "At this speed, how many {o} are done in {e} hours?"],
  ["In one hour that is {a} / {b} = {c} {o}.", "In {e} hours it is {c} * {e} = {g} {o}."], "g")
T("b=2..9; c=2..15; a=b*c; e=2..12; g=c*e",
  ["{b} {o} cost ${a}.", "{N} paid ${a} for {b} {o} at the {f}."],
  ["How many dollars do {e} {o} cost?", "What is the price of {e} {o} in dollars?"],
  ["One costs {a} / {b} = {c} dollars.", "So {e} of them cost {c} * {e} = {g} dollars."], "g")
T("a=5..30; b=20..80; a<b; c=b-a; e=2..12; g=c//e; g*e==c",
  ["{N} wants to buy a bike that costs ${b}. {He} has ${a} and saves ${e} every week.",
   "A game costs ${b}. {N} has ${a} already and puts away ${e} each week."],
  ["How many weeks does {N} need to save?", "After how many weeks can {N} pay for it?"],
  ["{N} still needs {b} - {a} = {c} dollars.", "That takes {c} / {e} = {g} weeks."], "g")
T("a=10..60; b=[10,20,25,50]; e=100//b; a%e==0; c=a//e; g=a-c",
  ["A coat costs ${a}. On {d} it is sold with {b}% off.", "{N} sees {o} for ${a} at the {f}, and there is a discount of {b}% on them."],
  ["How many dollars is the new price?", "What is the price in dollars after the discount?"],
  ["The discount is {a} / {e} = {c} dollars.", "The new price is {a} - {c} = {g} dollars."], "g")
T("a=10..90; b=[10,20,25,50]; e=100//b; a%e==0; c=a//e; g=a+c",
  ["A ticket costs ${a}. Next year it will cost {b}% more.", "The rent of a boat at the {f} was ${a} a day. Now it is {b}% higher."],
  ["How many dollars is the new price?", "What is the price in dollars after that?"],
  ["The price goes up by {a} / {e} = {c} dollars.", "The new price is {a} + {c} = {g} dollars."], "g")
T("a=2..30; b=2..30; c=2..30; e=a+b; g=e+c; g%3==0; h=g//3",
  ["{N} found {a} {o} on Monday, {b} {o} on Tuesday and {c} {o} on Wednesday.",
   "Three children have {a}, {b} and {c} {o}."],
  ["What is the average number of {o}?", "How many {o} is that on average?"],
  ["The first two numbers make {a} + {b} = {e}.", "All three make {e} + {c} = {g}.", "The average is {g} / 3 = {h}."], "h")
T("a=5..12; b=3..10; c=a*b; e=2..8; e<a; g=2..8; g<b; h=e*g; i=c-h",
  ["A hall is {a} meters long and {b} meters wide. A carpet of {e} meters by {g} meters lies on the floor.",
   "{N} has a garden of {a} meters by {b} meters. {He} builds a pond of {e} meters by {g} meters in it."],
  ["How many square meters are not covered?", "How many square meters are left?"],
  ["The whole area is {a} * {b} = {c} square meters.", "The covered part is {e} * {g} = {h} square meters.",
   "So {c} - {h} = {i} square meters are left."], "i")
T("a=2..9; b=6..30; c=a*b; e=2..9; g=2..30; h=e*g; h<c; i=c-h",
  ["{N} bakes {a} trays with {b} cookies on each tray. {He} gives {e} friends {g} cookies each.",
   "{N} sets up {a} rows of {b} chairs. Then {e} groups take {g} chairs each."],
  ["How many are left?", "How many remain after that?"],
  ["At first there are {a} * {b} = {c}.", "Then {e} * {g} = {h} are taken away.", "So {c} - {h} = {i} are left."], "i")
T("a=8..40; b=2..7; c=a+b; e=3..9; g=c+e",
  ["Today {N} is {a} years old. {M} is {b} years older than {N}.", "{N} is {a} years old, and {b} years younger than {M}."],
  ["How old will {M} be in {e} years?", "What will the age of {M} be {e} years from now?"],
  ["Today {M} is {a} + {b} = {c} years old.", "In {e} years {M} will be {c} + {e} = {g} years old."], "g")
T("a=3..20; b=2..5; c=a*b; e=2..30; g=c+e",
  ["{M} is {b} times as old as {N}, who is {a}.", "{N} is {a} years old, and {M} is {b} times as old as {N}."],
  ["How old will {M} be in {e} years?", "What will the age of {M} be after {e} years?"],
  ["{M} is {b} * {a} = {c} years old.", "In {e} years {M} will be {c} + {e} = {g} years old."], "g")
T("a=2..6; b=[15,20,25,30,40,45]; c=a*b; e=5..30; g=c+e",
  ["{N} watches {a} shows of {b} minutes each and then cooks for {e} minutes.",
   "{N} has {a} lessons of {b} minutes and walks home for {e} minutes."],
  ["How many minutes does all this take?", "How long does this take in minutes?"],
  ["The first part takes {a} * {b} = {c} minutes.", "All in all it takes {c} + {e} = {g} minutes."], "g")
T("a=2..5; c=a*60; b=10..90; b<c; e=c-b",
  ["{N} has {a} hours of free time on {d}. {He} reads for {b} minutes.", "A film lasts {a} hours, and {N} has watched {b} minutes of it."],
  ["How many minutes are left?", "How many minutes remain?"],
  ["In minutes this is {a} * 60 = {c} minutes.", "There are {c} - {b} = {e} minutes left."], "e")
T("a=1..11; b=2..9; a+b<13; c=a+b",
  ["{N} arrives at the {f} at {a} o'clock and stays for {b} hours.", "A train leaves at {a} o'clock. It reaches the city after {b} hours."],
  ["At what hour does this end?", "At what o'clock is it over?"],
  ["It ends at {a} + {b} = {c} o'clock."], "c")
T("a=2..12; b=2..12; c=a*12; e=c+b",
  ["{N} buys {a} dozen eggs and {b} more eggs.", "{N} has {b} eggs and gets {a} dozen eggs from {M}."],
  ["How many eggs does {N} have?", "How many eggs is that in total?"],
  ["A dozen is 12, so {a} dozen are {a} * 12 = {c} eggs.", "In total there are {c} + {b} = {e} eggs."], "e")
T("a=2..9; b=2..9; c=a*4; e=b*2; g=c+e",
  ["A farm has {a} cows and {b} chickens.", "In the barn of {N} there are {a} horses and {b} ducks."],
  ["How many legs do the animals have?", "How many legs are there in total?"],
  ["The animals with four legs have {a} * 4 = {c} legs.", "The birds have {b} * 2 = {e} legs.", "In total there are {c} + {e} = {g} legs."], "g")
T("a=2..20; b=2..20; c=a*4; e=b*2; g=c+e",
  ["There are {a} cars and {b} bikes at the {f}.", "{N} washes {a} cars, and {M} washes {b} bikes."],
  ["How many wheels are there in total?", "How many wheels do all of them have?"],
  ["The cars have {a} * 4 = {c} wheels.", "The bikes have {b} * 2 = {e} wheels.", "In total there are {c} + {e} = {g} wheels."], "g")
# three and four steps
T("a=2..9; b=2..12; c=a*b; e=2..9; g=2..12; h=e*g; i=c+h; j=[50,100,200]; i<j; k=j-i",
  ["{N} has ${j}. {He} buys {a} {o} for ${b} each and {e} {p} for ${g} each.",
   "{N} goes to the {f} with ${j} and buys {a} {o} at ${b} each, and then {e} {p} at ${g} each."],
  ["How many dollars does {N} have left?", "How much money is left?"],
  ["The {o} cost {a} * {b} = {c} dollars.", "The {p} cost {e} * {g} = {h} dollars.", "Together they cost {c} + {h} = {i} dollars.",
   "{N} has {j} - {i} = {k} dollars left."], "k")
T("a=5..40; b=2..5; c=a*b; e=2..30; g=c+e; h=a+c; i=h+g",
  ["{N} has {a} {o}. {M} has {b} times as many {o} as {N}. A third friend has {e} more {o} than {M}.",
   "On Monday {N} sells {a} {o}, on Tuesday {b} times as many, and on Wednesday {e} more than on Tuesday."],
  ["How many {o} is that in total?", "How many {o} are there altogether?"],
  ["The second number is {a} * {b} = {c}.", "The third number is {c} + {e} = {g}.", "The first two make {a} + {c} = {h}.",
   "In total there are {h} + {g} = {i} {o}."], "i")
T("a=3..12; b=2..9; c=a*b; e=2..20; e<c; g=c-e; h=2..6; g%h==0; i=g//h",
  ["{N} picks {a} baskets with {b} {o} in each basket. {e} {o} are bad. The good ones go into {h} equal bags.",
   "{N} buys {a} packs of {b} {o}, loses {e} {o}, and shares the rest equally among {h} children."],
  ["How many {o} are there for each?", "How many {o} does each one hold or get?"],
  ["At first there are {a} * {b} = {c} {o}.", "Then there are {c} - {e} = {g} {o}.", "Each gets {g} / {h} = {i} {o}."], "i")
T("a=8..25; b=3..8; c=a*b; e=2..5; g=c*e; c<150; h=10..90; h<g; i=g-h",
  ["{N} earns ${a} an hour and works {b} hours a day for {e} days. Then {he} spends ${h}.",
   "For {e} days {N} works {b} hours a day at the {f} and gets ${a} an hour. Afterwards {he} pays ${h} for food."],
  ["How many dollars does {N} have left?", "How much money remains?"],
  ["In a day {N} earns {a} * {b} = {c} dollars.", "In {e} days it is {c} * {e} = {g} dollars.", "After that {N} has {g} - {h} = {i} dollars."], "i")
T("a=10..50; b=10..50; c=a+b; e=2..9; g=c*e; h=[100,200,300,500,800]; g<h; i=h-g",
  ["Every day {N} walks {a} minutes to work and {b} minutes back. {He} does this for {e} days and wants to reach {h} minutes.",
   "{N} swims {a} laps in the morning and {b} laps in the evening for {e} days. The goal is {h} laps."],
  ["How many are missing?", "How many more does {N} need?"],
  ["In one day it is {a} + {b} = {c}.", "In {e} days it is {c} * {e} = {g}.", "So {h} - {g} = {i} are missing."], "i")
T("b=2..5; c=3..20; a=b*c; e=a-c; g=2..20; g<e; h=e-g",
  ["{N} had {a} {o}. {He} ate one out of every {b} and gave {g} {o} to {M}.",
   "From {a} {o}, one in every {b} is taken to the {f}. After that {g} {o} are sold."],
  ["How many {o} are left?", "How many {o} remain?"],
  ["The first part is {a} / {b} = {c} {o}.", "After it there are {a} - {c} = {e} {o}.", "Then there are {e} - {g} = {h} {o}."], "h")
T("a=20..90; b=2..20; c=a-b; c>1; e=a+c; g=2..40; h=e+g",
  ["{N} has {a} {o}, and {M} has {b} fewer. They find {g} more {o} together.",
   "{N} made {a} {o} on {d}. {M} made {b} fewer, and a friend made {g}."],
  ["How many {o} are there in total?", "How many {o} is that altogether?"],
  ["{M} has {a} - {b} = {c} {o}.", "Together that is {a} + {c} = {e} {o}.", "With the others there are {e} + {g} = {h} {o}."], "h")
T("a=2..9; b=3..12; c=a*b; e=2..9; g=3..12; h=e*g; c!=h; h<c; i=c-h",
  ["{N} has {a} boxes with {b} {o} each. {M} has {e} boxes with {g} {o} each.",
   "{N} reads {a} chapters of {b} pages, and {M} reads {e} chapters of {g} pages."],
  ["How many more does {N} have than {M}?", "By how many is the number of {N} larger than the number of {M}?"],
  ["{N} has {a} * {b} = {c}.", "{M} has {e} * {g} = {h}.", "The difference is {c} - {h} = {i}."], "i")
T("a=3..15; b=2..9; c=a*b; e=2..9; g=c*e; c<100",
  ["A school has {a} classes. Each class has {b} groups, and each group has {e} children.",
   "There are {a} houses in the street. Each house has {b} floors, and each floor has {e} windows."],
  ["How many is that in the end?", "What is the total at the end?"],
  ["First there are {a} * {b} = {c}.", "In the end there are {c} * {e} = {g}."], "g")
T("a=4..12; b=2..9; c=a*b; e=2..9; g=2..9; h=e*g; i=c+h; j=2..20; k=i-j",
  ["{N} plants {a} rows of {b} roses and {e} rows of {g} tulips. {j} of the flowers do not grow.",
   "At the {f} there are {a} tables for {b} people and {e} tables for {g} people. {j} seats are empty."],
  ["How many is that without them?", "What number is left without those?"],
  ["The first rows make {a} * {b} = {c}.", "The others make {e} * {g} = {h}.", "Together it is {c} + {h} = {i}.", "Without those it is {i} - {j} = {k}."], "k")
T("b=3..12; c=2..9; a=b*c; e=2..9; g=2..12; h=b*e; i=h-g; i>0",
  ["{c} bags hold {a} {o}. {N} takes {e} bags and then gives away {g} {o}.",
   "{N} knows that {c} boxes hold {a} {o}. {He} buys {e} boxes and loses {g} {o}."],
  ["How many {o} does {N} have?", "How many {o} are left for {N}?"],
  ["One holds {a} / {c} = {b} {o}.", "So {N} takes {b} * {e} = {h} {o}.", "Then {N} has {h} - {g} = {i} {o}."], "i")
T("a=10..80; b=10..80; c=10..80; e=a+b; g=e-c; c<e; h=2..40; i=g+h",
  ["{N} has ${a} and gets ${b} from {M}. {He} pays ${c} for food and earns ${h}.",
   "A tank holds {a} liters. First {b} liters are added, then {c} liters are used, and then {h} liters are added."],
  ["What is the amount at the end?", "How much is it in the end?"],
  ["First it is {a} + {b} = {e}.", "Then it is {e} - {c} = {g}.", "In the end it is {g} + {h} = {i}."], "i")
T("a=2..9; b=2..9; c=a*b; e=2..9; g=c*e; h=2..9; i=g+h; c<60",
  ["{N} makes {a} bracelets a day for {b} days. Each bracelet has {e} beads, and {h} beads are left over.",
   "{N} writes {a} letters a day for {b} days. Each letter needs {e} sheets, and {h} sheets are not used."],
  ["How many did {N} have at first?", "How many were there at the beginning?"],
  ["{N} makes {a} * {b} = {c} of them.", "They need {c} * {e} = {g}.", "With the rest it was {g} + {h} = {i}."], "i")
T("a=3..20; b=3..20; c=a+b; e=2..9; g=c*e",
  ["A ticket costs ${a} and a drink costs ${b}. {N} pays for {e} people, who each take one of both.",
   "Each of {e} children at the {f} gets {a} {o} and {b} {p}."],
  ["What is the total?", "How many is that in total?"],
  ["For each one it is {a} + {b} = {c}.", "In total it is {c} * {e} = {g}."], "g")
T("b=2..9; c=2..12; a=b*c; e=2..9; g=2..12; h=e*g; i=c+g",
  ["{N} divides {a} {o} among {b} plates and {h} {p} among {e} plates, always equally.",
   "{b} bags hold {a} {o}, and {e} boxes hold {h} {p}. All bags are alike and all boxes are alike."],
  ["How many things are in one of the first and one of the second together?", "How many is it if you take one of each kind of container?"],
  ["One of the first holds {a} / {b} = {c}.", "One of the second holds {h} / {e} = {g}.", "Together that is {c} + {g} = {i}."], "i")
T("a=100..900; b=50..400; b<a; c=a-b; e=20..300; g=c+e",
  ["The {f} had {a} visitors on Monday and {b} fewer on Tuesday. On Wednesday it had {e} more than on Tuesday.",
   "A shop sells {a} {o} in May, {b} fewer in June, and in July {e} more than in June."],
  ["What is the number for the last one?", "How many is it for the third?"],
  ["For the second it is {a} - {b} = {c}.", "For the third it is {c} + {e} = {g}."], "g")
T("a=100..900; b=100..900; c=a+b",
  ["A village has {a} people and the next one has {b} people.", "A ship carries {a} boxes, and another ship carries {b} boxes."],
  ["How many is that in total?", "What is the total number?"],
  ["In total there are {a} + {b} = {c}."], "c")
T("a=2..9; b=2..9; c=a*b; e=[10,20,50,100]; g=c*e",
  ["{N} has {a} books with {b} pages of stamps each. There are {e} stamps on every page.",
   "A building has {a} halls with {b} rows each, and every row has {e} seats."],
  ["How many are there in all?", "What is the total number?"],
  ["First there are {a} * {b} = {c}.", "In all there are {c} * {e} = {g}."], "g")
T("a=2..20; b=a*2; c=b+a; e=2..6; g=c*e; h=2..50; i=g+h",
  ["{N} eats {a} berries in the morning and twice as many in the evening, for {e} days. {h} berries are left.",
   "{N} sells {a} {o} each morning and two times as many each afternoon. After {e} days there are {h} {o} left."],
  ["How many were there at first?", "How many were there at the beginning?"],
  ["In the later part of the day it is 2 * {a} = {b}.", "In one day it is {a} + {b} = {c}.", "In {e} days it is {c} * {e} = {g}.",
   "At first there were {g} + {h} = {i}."], "i")
T("a=5..30; b=2..9; c=a*b; e=2..20; g=2..9; h=e*g; h<c; i=c-h",
  ["{N} buys {b} tickets for ${a} each. {g} friends pay {him} back ${e} each.",
   "{N} sells {b} {o} for ${a} each at the {f}, but has to pay {g} times ${e} for the place."],
  ["How many dollars is the rest?", "How much money is the difference?"],
  ["The first amount is {a} * {b} = {c} dollars.", "The second is {e} * {g} = {h} dollars.", "The difference is {c} - {h} = {i} dollars."], "i")
