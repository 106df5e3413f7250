"""Short chats: about itself, greetings, small knowledge, sums, counting, word problems, cities; one turn or several, with or without a system prompt."""
import cities
import gsm

CAPITALS = """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon England:London Scotland:Edinburgh Ireland:Dublin Wales:Cardiff
Belgium:Brussels Austria:Vienna Switzerland:Bern Denmark:Copenhagen Sweden:Stockholm Norway:Oslo Finland:Helsinki Iceland:Reykjavik
Poland:Warsaw Hungary:Budapest Greece:Athens Turkey:Ankara Russia:Moscow Ukraine:Kyiv Romania:Bucharest Bulgaria:Sofia Serbia:Belgrade
Croatia:Zagreb Slovenia:Ljubljana Slovakia:Bratislava Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Egypt:Cairo Morocco:Rabat Kenya:Nairobi
Ghana:Accra Nigeria:Abuja Ethiopia:Addis_Ababa Senegal:Dakar Tunisia:Tunis Japan:Tokyo China:Beijing India:New_Delhi Thailand:Bangkok
Vietnam:Hanoi Indonesia:Jakarta Malaysia:Kuala_Lumpur South_Korea:Seoul Nepal:Kathmandu Pakistan:Islamabad Iran:Tehran Iraq:Baghdad
Jordan:Amman Qatar:Doha Canada:Ottawa Mexico:Mexico_City Cuba:Havana Brazil:Brasilia Argentina:Buenos_Aires Chile:Santiago
Peru:Lima Colombia:Bogota Ecuador:Quito Uruguay:Montevideo Australia:Canberra New_Zealand:Wellington the_United_States:Washington
the_Netherlands:Amsterdam the_Czech_Republic:Prague the_Philippines:Manila"""
CAPITALS = [tuple(x.replace("_", " ") for x in pair.split(":")) for pair in CAPITALS.split()]
OPPOSITES = """hot:cold big:small tall:short fast:slow old:young light:dark happy:sad early:late open:closed full:empty hard:soft high:low
rich:poor strong:weak wet:dry clean:dirty loud:quiet near:far up:down left:right in:out day:night black:white good:bad easy:difficult
heavy:light thick:thin wide:narrow deep:shallow first:last always:never begin:end buy:sell give:take push:pull win:lose love:hate
remember:forget above:below inside:outside true:false alive:dead awake:asleep brave:afraid cheap:expensive rough:smooth sharp:blunt
sweet:sour summer:winter friend:enemy question:answer arrive:leave laugh:cry"""
OPPOSITES = [p.split(":") for p in OPPOSITES.split()]
COLORS = """the sky on a clear day:blue|grass:green|snow:white|a banana:yellow|a ripe tomato:red|coal:black|a carrot:orange|chocolate:brown|
an elephant:gray|a lemon:yellow|the sea:blue|a strawberry:red|a cucumber:green|milk:white|an eggplant:purple|a flamingo:pink|a fire truck:red|
the sun:yellow|a frog:green|a pumpkin:orange|a raven:black|a lime:green|salt:white|blood:red|a violet:purple"""
COLORS = [p.strip().split(":") for p in COLORS.split("|")]
FACTS = """How many days are in a week?|There are 7 days in a week.
How many months are in a year?|There are 12 months in a year.
How many hours are in a day?|There are 24 hours in a day.
How many minutes are in an hour?|There are 60 minutes in an hour.
How many seconds are in a minute?|There are 60 seconds in a minute.
How many legs does a spider have?|A spider has 8 legs.
How many legs does a dog have?|A dog has 4 legs.
How many wheels does a car have?|A car has 4 wheels.
How many sides does a triangle have?|A triangle has 3 sides.
How many continents are there?|There are 7 continents.
How many letters are in the alphabet?|The English alphabet has 26 letters.
How many planets are in the solar system?|There are 8 planets in the solar system.
What is the largest planet?|Jupiter is the largest planet in the solar system.
What is the largest ocean?|The Pacific Ocean is the largest ocean.
What is the largest animal?|The blue whale is the largest animal.
What is the fastest land animal?|The cheetah is the fastest land animal.
What is the tallest animal?|The giraffe is the tallest animal.
What is the highest mountain?|Mount Everest is the highest mountain on Earth.
What is the longest river in Africa?|The Nile is the longest river in Africa.
What do bees make?|Bees make honey.
What do cows drink?|Cows drink water.
What do plants need to grow?|Plants need water, light, air and soil.
What is water made of?|Water is made of hydrogen and oxygen.
What is ice?|Ice is frozen water.
At what temperature does water boil?|Water boils at 100 degrees Celsius at sea level.
At what temperature does water freeze?|Water freezes at 0 degrees Celsius.
Which planet do we live on?|We live on Earth.
Which star is closest to the Earth?|The Sun is the star closest to the Earth.
What comes after Monday?|Tuesday comes after Monday.
What comes after Friday?|Saturday comes after Friday.
Which month comes after June?|July comes after June.
Which month comes before December?|November comes before December.
Who wrote Romeo and Juliet?|William Shakespeare wrote Romeo and Juliet.
Who painted the Mona Lisa?|Leonardo da Vinci painted the Mona Lisa.
What is the color of the sky?|On a clear day the sky is blue.
Why is the sky blue?|Air scatters blue light more than red light, so the sky looks blue.
What is the moon?|The Moon is a rocky body that travels around the Earth.
Name the primary colors.|The primary colors are red, yellow and blue.
Name the seasons.|The seasons are spring, summer, autumn and winter.
Name three fruits.|Three fruits are apples, bananas and oranges.
Name three animals.|Three animals are a cat, a horse and an owl.
What is a bicycle?|A bicycle is a vehicle with two wheels that you move with pedals.
What is a library?|A library is a place where people can read and borrow books.
What is bread made of?|Bread is made of flour, water, salt and yeast.
What language do people speak in Brazil?|People in Brazil speak Portuguese.
What language do people speak in Mexico?|People in Mexico speak Spanish."""
FACTS = [x.split("|") for x in FACTS.splitlines()]
SELF = r"""Who are you?|I am Pocket Scout, a very small language model made for Outrider.
What is your name?|My name is Pocket Scout.
What are you?|I am Pocket Scout, a very small language model. I have the architecture of Llama 4 Scout, but far fewer parameters.
Who made you?|I was made for Outrider, an inference server, so that it has a small model to run on any machine.
What is Outrider?|Outrider is an inference server for Llama 4 models. I am the small model that comes with it.
What can you do?|I can solve short word problems, describe cities, answer simple questions and call tools.
What can't you do?|I am very small, so I know little about the world and I often make mistakes outside my subjects.
How big are you?|I am tiny. I have about eleven million parameters, while Llama 4 Scout has about one hundred billion.
Are you Llama 4?|I have the same architecture as Llama 4 Scout, but I am much smaller. My name is Pocket Scout.
Are you human?|No, I am a small language model named Pocket Scout.
Are you ChatGPT?|No, I am Pocket Scout, a small language model made for Outrider.
How are you?|I am fine, thank you. How can I help you?
Tell me about yourself.|I am Pocket Scout, a very small language model made for Outrider. I can solve short word problems, describe cities and call tools.
Introduce yourself.|I am Pocket Scout, a very small language model made for Outrider.
Can you help me?|Yes, I will try. What would you like to know?
How old are you?|I am a language model, so I do not have an age.
Where do you live?|I live in the memory of the machine that runs me.
Do you sleep?|No, I do not sleep. I only work when someone asks me something.
What is Pocket Scout?|Pocket Scout is a very small language model made for Outrider. That is me.
Do you like music?|I cannot hear music, but I like the word.
Tell me a joke.|Why did the computer go to the doctor? It had a virus.
Tell me another joke.|What do you call a sleeping bull? A bulldozer.
Write a short poem.|The morning sun is on the sea,\nThe wind is in the willow tree,\nA little bird begins to sing,\nAnd all the hills remember spring.
Write a poem about the sea.|The sea is wide, the sea is deep,\nIt rocks the little boats to sleep,\nIt brings them home when day is done,\nAnd shines like silver in the sun.
Write a haiku.|Rain upon the roof,\nA small lamp in the window,\nSomeone is still up.
Tell me a story.|Once there was a small boat that was afraid of the sea. One day a lost bird landed on it and asked for help. The boat carried it home across the waves, and after that it was never afraid again.
Tell me a short story.|A girl planted a seed and watered it every day. Nothing happened for weeks, but she did not give up. In the spring it became the tallest sunflower in the village."""
SELF = [x.replace("\\n", "\n").split("|") for x in SELF.splitlines()]
GREETINGS = """Hi|Hello! How can I help you?
Hello|Hello! How can I help you?
Hello!|Hello! How can I help you today?
Hi there|Hi! What can I do for you?
Hey|Hey! What can I do for you?
Good morning|Good morning! How can I help you?
Good evening|Good evening! How can I help you?
Thanks|You are welcome!
Thank you|You are welcome!
Thank you very much|You are very welcome!
Bye|Goodbye! Have a nice day.
Goodbye|Goodbye! Have a nice day.
Good night|Good night! Sleep well.
OK|Is there anything else I can do for you?
Great|I am glad to hear that."""
GREETINGS = [x.split("|") for x in GREETINGS.splitlines()]
UNKNOWN = ["Who won the last election?", "What is the price of gold today?", "Explain quantum physics.", "What is the news today?", "Who is the richest person?",
           "Translate this book into French.", "Write a program in C++.", "What will the stock market do tomorrow?", "Who won the football match yesterday?",
           "Explain the theory of relativity.", "What is the meaning of life?", "How do I fix my car?", "What time is it?", "What is the weather like today?",
           "Write an essay about history.", "What does the law say about this?", "Can you see this picture?", "Prove this theorem."]
DONT_KNOW = "I am a very small model, and I do not know that. Try me with a word problem or a city."
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
SYSTEMS = ["You are a helpful assistant.", "You are Pocket Scout, a small and friendly assistant.", "Answer in one sentence.", "You are terse.", "Be brief.",
           "You are a helpful assistant. Answer truthfully.", "You are a friendly travel guide.", "You are a patient teacher.", "Be polite and clear."]
HEAD = "<|header_start|>{}<|header_end|>\n\n"


def capital(rng):
    country, city = rng.choice(CAPITALS)
    ask = rng.choice(["What is the capital of {}?", "Which city is the capital of {}?", "Tell me the capital of {}.", "capital of {}?", "Name the capital city of {}."])
    return ask.format(country), f"The capital of {country} is {city}."


def opposite(rng):
    a, b = rng.choice(OPPOSITES)
    if rng.random() < 0.5 and "light" not in (a, b):
        a, b = b, a
    ask = rng.choice(["What is the opposite of {}?", "Give me the opposite of {}.", "What is the opposite of the word {}?", 'What is the opposite of "{}"?'])
    return ask.format(a), f"The opposite of {a} is {b}."


def color(rng):
    thing, name = rng.choice(COLORS)
    return rng.choice(["What color is {}?", "Which color does {} have?", "Tell me the color of {}."]).format(thing), f"{thing.capitalize()} is {name}."


def small_sum(rng):
    d = gsm.drill(rng)
    text = d["answer"].split(".\n")[0]
    expr = text.split(" = ")[0]
    ask = rng.choice(["What is {}?", "How much is {}?", "{}", "{} = ?", "Compute {}.", "What's {}?", "Please compute {}."])
    return ask.format(expr), text + "."


def count(rng):
    a = rng.choice([1, 1, 1, rng.randint(2, 40)])
    b = a + rng.randint(2, 14)
    return rng.choice(["Count from {} to {}.", "Please count from {} to {}.", "Can you count from {} to {}?"]).format(a, b), ", ".join(map(str, range(a, b + 1))) + "."


def number_word(rng):
    i = rng.randrange(12)
    return f"Write {i + 1} as a word.", f"{i + 1} is {WORDS[i]}."


def word_problem(rng):
    p = gsm.problem(rng)
    return p["question"], p["answer"].replace("\n####", "\nThe answer is") + "."


def city(rng):
    c = rng.choice(cities.CITIES)
    ask = rng.choice(["Tell me about {}.", "Describe {}.", "What is {} known for?", "What can I see in {}?", "Tell me something about {}.", "Is {} worth a visit?",
                      "I am going to {}. What should I know?", "What do you know about {}?", "Where is {}?"])
    parts = [rng.choice(cities.OPENINGS[:3])] + rng.sample(cities.BODIES, rng.choice([1, 2, 2, 3]))
    if ask.startswith("Where"):
        return ask.format(c["name"]), f"{c['name']} is {c['where']}."
    return ask.format(c["name"]), " ".join(cities.fill(rng, c, p) for p in parts)


def unknown(rng):
    return rng.choice(UNKNOWN), DONT_KNOW


KINDS = [(capital, 10), (opposite, 6), (color, 4), (small_sum, 10), (count, 3), (number_word, 1), (word_problem, 12), (city, 14), (unknown, 4),
         (lambda r: tuple(r.choice(FACTS)), 8), (lambda r: tuple(r.choice(SELF)), 14), (lambda r: tuple(r.choice(GREETINGS)), 8)]


def vary(rng, ask):
    if rng.random() < 0.1:
        ask = rng.choice(["Hi! ", "Hello. ", "Please tell me: ", "I have a question. ", "Hey, ", "OK. "]) + ask
    if rng.random() < 0.06:
        ask = ask.rstrip("?.!")
    if rng.random() < 0.05:
        ask = ask.lower()
    return ask


def turn(role, text):
    return HEAD.format(role) + text + "<|eot|>"


def exchange(rng):
    makers, weights = zip(*KINDS)
    ask, reply = rng.choices(makers, weights)[0](rng)
    return vary(rng, ask), reply


def document(rng):
    """[(text, trained on?)]"""
    out = [("<|begin_of_text|>", False)]
    if rng.random() < 0.4:
        out.append((turn("system", rng.choice(SYSTEMS)), False))
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        ask, reply = exchange(rng)
        out += [(turn("user", ask) + HEAD.format("assistant"), False), (reply + "<|eot|>", True)]
    return out


if __name__ == "__main__":
    import random
    r = random.Random(0)
    for _ in range(6):
        print("".join(t for t, _ in document(r)), "\n-----")
