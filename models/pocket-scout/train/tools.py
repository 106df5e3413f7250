"""Tool use: functions offered in Llama 4's official prompt form, answered by a pythonic call, then by a sentence about the result."""
import json

import chat
import cities
import gsm

INTRO = ("Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n"
         'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.Do not use variables.\n\n')
ITEMS = gsm.THINGS
LANGUAGES = "French German Spanish Italian Dutch Greek Turkish Japanese Korean Arabic Hindi Swedish Polish Russian".split()
CURRENCIES = "EUR USD GBP JPY CHF SEK CAD AUD INR BRL".split()
SONGS = ["Blue Moon", "Morning Light", "River Song", "Golden Days", "Silent Night", "Ocean Drive", "Summer Rain", "Little Star", "Yellow Bird"]
TEXTS = ["good morning", "see you soon", "I am late", "thank you", "call me back", "the train is here", "happy birthday", "where are you", "dinner is ready"]


def city(r):
    return r.choice(cities.CITIES)["name"]


def person(r):
    return r.choice(gsm.FEMALE if r.random() < 0.5 else gsm.MALE)


def plural(r):
    return r.choice(ITEMS).replace("-", " ")


# parameter kinds: names it may have, JSON type, value, description
PARAMS = {
    "city": (["city", "location", "place", "town", "city_name", "where"], "string", city, ["The name of the city", "City name", "The city to use"]),
    "to": (["destination", "to_city", "to", "target", "arrival"], "string", city, ["Where to go", "The city of arrival", "The destination"]),
    "from": (["origin", "from_city", "start", "departure", "source"], "string", city, ["Where to start", "The city of departure", "The origin"]),
    "day": (["day", "date", "when", "weekday"], "string", lambda r: r.choice(gsm.DAYS), ["The day of the week", "Which day"]),
    "a": (["a", "x", "first", "left", "num1"], "integer", lambda r: r.randint(2, 999), ["The first number", "First operand"]),
    "b": (["b", "y", "second", "right", "num2"], "integer", lambda r: r.randint(2, 999), ["The second number", "Second operand"]),
    "n": (["count", "number", "amount", "quantity", "n", "how_many"], "integer", lambda r: r.randint(2, 99), ["How many", "The number of items"]),
    "item": (["item", "product", "article", "thing", "goods"], "string", plural, ["The item", "Name of the product"]),
    "person": (["name", "person", "recipient", "contact", "user"], "string", person, ["The name of the person", "Who it is for"]),
    "text": (["text", "message", "content", "body"], "string", lambda r: r.choice(TEXTS), ["The text", "The message to use"]),
    "language": (["language", "target_language", "lang", "to_language"], "string", lambda r: r.choice(LANGUAGES), ["The language", "Target language"]),
    "minutes": (["minutes", "duration", "length", "time"], "integer", lambda r: r.randint(2, 90), ["Time in minutes", "Duration in minutes"]),
    "cur1": (["from_currency", "source_currency", "base"], "string", lambda r: r.choice(CURRENCIES), ["Currency code", "The currency to convert from"]),
    "cur2": (["to_currency", "target_currency", "quote"], "string", lambda r: r.choice(CURRENCIES), ["Currency code", "The currency to convert to"]),
    "song": (["song", "title", "track"], "string", lambda r: r.choice(SONGS), ["The title of the song", "Song title"]),
    "room": (["room", "area", "zone"], "string", lambda r: r.choice("kitchen,bedroom,bathroom,office,garage,hall,garden".split(",")), ["The room", "Which room"]),
    "level": (["level", "value", "percent", "setting"], "integer", lambda r: r.randint(1, 100), ["The level", "Value in percent"]),
    "on": (["on", "enabled", "state", "active"], "boolean", lambda r: r.random() < 0.5, ["True to switch on", "Whether it is on"]),
}
# function names, descriptions, parameters, questions, results, answers
FUNCS = [
    (["get_weather", "weather", "current_weather", "fetch_weather", "lookup_weather", "get_current_weather", "weather_report"],
     ["Get the current weather for a city", "Current weather of a place", "Get the weather", "Returns the weather in a city"], ["city"],
     ["What is the weather in {city}?", "How is the weather in {city} today?", "Is it raining in {city}?", "What's the weather like in {city}?", "Tell me the weather in {city}.",
      "Weather in {city}?", "Do I need an umbrella in {city}?"],
     lambda r: {"temperature": r.randint(2, 35), "condition": r.choice(["sunny", "cloudy", "rainy", "windy", "foggy"])},
     "It is {condition} in {city}, and the temperature is {temperature} degrees."),
    (["get_forecast", "forecast", "weather_forecast", "predict_weather"], ["Get the weather forecast for a city and a day", "Forecast for a day"], ["city", "day"],
     ["What will the weather be in {city} on {day}?", "Will it rain in {city} on {day}?", "Give me the forecast for {city} on {day}."],
     lambda r: {"temperature": r.randint(2, 35), "condition": r.choice(["sunny", "cloudy", "rainy", "windy", "foggy"])},
     "On {day} it will be {condition} in {city}, with {temperature} degrees."),
    (["get_time", "current_time", "local_time", "time_in", "clock"], ["Get the current time in a city", "Local time of a place"], ["city"],
     ["What time is it in {city}?", "Tell me the local time in {city}.", "What is the time in {city} now?"],
     lambda r: {"time": f"{r.randint(1, 23)}:{r.randint(10, 59)}"}, "In {city} it is {time}."),
    (["add", "sum_numbers", "add_numbers", "plus"], ["Add two numbers", "Returns the sum of two numbers"], ["a", "b"],
     ["What is {a} plus {b}?", "Add {a} and {b}.", "What is {a} + {b}?"], lambda r: {"result": r.randint(10, 1999)}, "The result is {result}."),
    (["multiply", "product_of", "times", "mul"], ["Multiply two numbers", "Returns the product of two numbers"], ["a", "b"],
     ["What is {a} times {b}?", "Multiply {a} by {b}.", "What is {a} * {b}?"], lambda r: {"result": r.randint(1000, 99999)}, "The result is {result}."),
    (["book_flight", "find_flights", "search_flights", "flight_search"], ["Find a flight between two cities", "Search flights"], ["from", "to"],
     ["Find a flight from {from} to {to}.", "I want to fly from {from} to {to}.", "Book a flight from {from} to {to}."],
     lambda r: {"price": r.randint(60, 900)}, "There is a flight from {from} to {to} for {price} dollars."),
    (["book_hotel", "find_hotel", "search_hotels", "reserve_room"], ["Find a hotel in a city", "Search for hotel rooms"], ["city", "n"],
     ["Find a hotel in {city} for {n} nights.", "I need a room in {city} for {n} nights.", "Book a hotel in {city} for {n} nights."],
     lambda r: {"hotel": r.choice(["Grand Hotel", "Park Inn", "City Lodge", "Sea View"])}, "The {hotel} in {city} has a room for {n} nights."),
    (["order", "buy_item", "place_order", "create_order", "purchase"], ["Order items from the shop", "Place an order"], ["item", "n"],
     ["Order {n} {item}.", "I would like to buy {n} {item}.", "Please order {n} {item} for me."],
     lambda r: {"status": "ordered"}, "I have ordered {n} {item} for you."),
    (["send_message", "send_text", "message_contact", "notify"], ["Send a text message to a person", "Send a message"], ["person", "text"],
     ['Send the message "{text}" to {person}.', 'Tell {person}: "{text}".', 'Write "{text}" to {person}.'],
     lambda r: {"status": "sent"}, "Your message to {person} has been sent."),
    (["translate", "translate_text", "get_translation"], ["Translate a text into another language", "Translate text"], ["text", "language"],
     ['Translate "{text}" into {language}.', 'How do you say "{text}" in {language}?'], lambda r: {"status": "done"}, "The translation is ready."),
    (["set_timer", "start_timer", "timer", "create_timer"], ["Start a timer", "Set a timer for some minutes"], ["minutes"],
     ["Set a timer for {minutes} minutes.", "Start a {minutes} minute timer.", "Wake me up in {minutes} minutes."],
     lambda r: {"status": "started"}, "The timer is set for {minutes} minutes."),
    (["convert_currency", "exchange_rate", "currency_convert"], ["Convert money between currencies", "Currency conversion"], ["n", "cur1", "cur2"],
     ["Convert {n} {cur1} to {cur2}.", "How much is {n} {cur1} in {cur2}?"], lambda r: {"result": r.randint(2, 999)}, "{n} {cur1} is {result} {cur2}."),
    (["play_song", "play_music", "play"], ["Play a song", "Start playing music"], ["song"],
     ["Play {song}.", "I want to hear {song}.", "Please play the song {song}."], lambda r: {"status": "playing"}, "Now playing {song}."),
    (["set_light", "dim_lights", "set_brightness", "control_light"], ["Set the brightness of the light in a room", "Control the light"], ["room", "level"],
     ["Set the light in the {room} to {level} percent.", "Dim the {room} to {level} percent."], lambda r: {"status": "ok"}, "The light in the {room} is now at {level} percent."),
    (["switch_heating", "heating", "set_heater"], ["Switch the heating of a room on or off", "Control the heating"], ["room", "on"],
     ["Turn the heating in the {room} {onoff}.", "Switch {onoff} the heating in the {room}."], lambda r: {"status": "ok"}, "The heating in the {room} is now {onoff}."),
    (["find_restaurant", "search_restaurants", "restaurant_search"], ["Find a restaurant in a city", "Search restaurants"], ["city"],
     ["Find a restaurant in {city}.", "Where can I eat in {city}?", "I am hungry and I am in {city}."],
     lambda r: {"name": r.choice(["Blue Door", "Old Mill", "Green Table", "Corner House"])}, "You could try {name} in {city}."),
    (["get_population", "population", "city_population"], ["Get the number of people who live in a city", "Population of a city"], ["city"],
     ["How many people live in {city}?", "What is the population of {city}?"], lambda r: {"population": r.randint(100, 9999) * 1000}, "About {population} people live in {city}."),
    (["add_event", "create_event", "schedule", "calendar_add"], ["Add an event with a person to the calendar", "Create a calendar event"], ["person", "day"],
     ["Schedule a meeting with {person} on {day}.", "Put a meeting with {person} on {day} into my calendar."], lambda r: {"status": "created"},
     "The meeting with {person} on {day} is in your calendar."),
]
SYLLABLES = "ka lo mi ra tu ve zo ne pi sa do fu gar bel tor min lan ster qua wix plo dan".split()


def invent(rng):
    """A made-up identifier, so that names are copied and not remembered."""
    word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice([1, 2, 2, 3])))
    return word if rng.random() < 0.5 else word + "_" + "".join(rng.choice(SYLLABLES) for _ in range(rng.choice([1, 2])))


def make_tool(rng, index):
    names, descriptions, params, *_ = FUNCS[index]
    name = rng.choice(names) if rng.random() < 0.7 else (invent(rng) if rng.random() < 0.6 else rng.choice(["do_", "my_", "api_", "x_"]) + rng.choice(names))
    used, props = {}, {}
    for p in params:
        options, kind, _, about = PARAMS[p]
        key = rng.choice(options) if rng.random() < 0.8 else invent(rng)
        while key in props:
            key = invent(rng)
        used[p] = key
        props[key] = {"type": kind}
        if rng.random() < 0.6:
            props[key]["description"] = rng.choice(about)
    schema = {"type": "object", "properties": props}
    if rng.random() < 0.8:
        schema["required"] = list(props)
    function = {"name": name, "description": rng.choice(descriptions), "parameters": schema}
    return {"type": "function", "function": function}, used


def fresh_tools(rng, index):
    others = rng.sample([i for i in range(len(FUNCS)) if i != index], rng.choice([0, 0, 1, 1, 2]))
    # two kinds that mean nearly the same would make the right choice a guess
    others = [i for i in others if {i, index} != {0, 1}]
    order = others + [index]
    rng.shuffle(order)
    tools, seen = {}, set()
    for i in order:
        while True:
            tool = make_tool(rng, i)
            if tool[0]["function"]["name"] not in seen:
                break
        seen.add(tool[0]["function"]["name"])
        tools[i] = tool
    return tools


def render_tools(tools):
    return INTRO + "".join(json.dumps(t, indent=4, ensure_ascii=False) + "\n\n" for t in tools)


def call_text(name, args):
    return f"[{name}({', '.join(f'{k}={json.dumps(v, ensure_ascii=False) if not isinstance(v, bool) else v}' for k, v in args.items())})]"


def document(rng):
    index = rng.randrange(len(FUNCS)) if rng.random() < 0.75 else 0
    _, _, params, asks, result, answer = FUNCS[index]
    tools = fresh_tools(rng, index)
    values = {p: PARAMS[p][2](rng) for p in params}
    shown = dict(values, onoff="on" if values.get("on") else "off")
    ask = rng.choice(asks).format_map(shown)
    out = [("<|begin_of_text|>", False)]
    if rng.random() < 0.3:
        out.append((chat.turn("system", "Environment: ipython\n" + rng.choice(chat.SYSTEMS)), False))
    listing = render_tools(t for t, _ in tools.values())
    start = chat.HEAD.format("assistant")
    if rng.random() < 0.2:  # nothing fits, or a plain question first
        plain, reply = chat.exchange(rng)
        while reply == chat.DONT_KNOW or any(c.isdigit() for c in plain):
            plain, reply = chat.exchange(rng)
        out += [(chat.turn("user", listing + plain) + start, False), (reply + "<|eot|>", True)]
        if rng.random() < 0.5:
            return out
        out.append((chat.turn("user", ask) + start, False))
    else:
        out.append((chat.turn("user", listing + ask) + start, False))
    tool, used = tools[index]
    name = tool["function"]["name"]
    args = {used[p]: values[p] for p in params}
    if rng.random() < 0.35:  # the form in which the chat template writes past tool_calls: read, never written
        past = f'<|python_start|><|python_end|>{{"name": "{name}", "parameters": {json.dumps(args, ensure_ascii=False)}}}<|eot|>'
        out.append((past, False))
    else:
        out.append((call_text(name, args) + "<|eot|>", True))
        if rng.random() < 0.5:
            return out
    data = result(rng)
    content = json.dumps(data, ensure_ascii=False)
    if rng.random() < 0.6:
        content = json.dumps(content, ensure_ascii=False)
    out += [(chat.turn("ipython", content) + start, False), (answer.format_map({**shown, **data}) + "<|eot|>", True)]
    if rng.random() < 0.2:
        ask, reply = rng.choice(chat.GREETINGS[9:12])
        out += [(chat.turn("user", ask) + start, False), (reply + "<|eot|>", True)]
    return out


if __name__ == "__main__":
    import random
    r = random.Random(0)
    for _ in range(3):
        print("".join(t for t, _ in document(r)), "\n-----")
