"""City and travel descriptions. One line a city: name | adjectives | where | known for | sights | food | water or hills | season."""
import re

TABLE = """
San Francisco|vibrant, diverse|in northern California|its steep hills, cable cars and foggy mornings|the Golden Gate Bridge, Alcatraz Island, Chinatown|sourdough bread and fresh seafood|San Francisco Bay|September
New York|busy, exciting|on the east coast of the United States|its tall buildings, theaters and museums|the Statue of Liberty, Central Park, Times Square|bagels and thin pizza|the Hudson River|autumn
Los Angeles|sunny, sprawling|in southern California|its film studios, beaches and palm trees|Hollywood, Griffith Observatory, Santa Monica Pier|tacos and fresh salads|the Pacific Ocean|spring
Chicago|bold, windy|in the state of Illinois|its architecture, jazz and lakefront|Millennium Park, the Art Institute, Navy Pier|deep dish pizza|Lake Michigan|summer
Boston|historic, friendly|in the state of Massachusetts|its old streets, universities and sports teams|the Freedom Trail, Fenway Park, Boston Common|clam chowder|the Charles River|autumn
Seattle|green, creative|in the state of Washington|its coffee, music and technology companies|the Space Needle, Pike Place Market, Kerry Park|salmon and good coffee|Puget Sound|July
Miami|colorful, lively|in the south of Florida|its beaches, nightlife and Art Deco buildings|South Beach, Little Havana, Wynwood Walls|Cuban sandwiches|Biscayne Bay|winter
New Orleans|musical, charming|in the state of Louisiana|its jazz, festivals and old balconies|the French Quarter, Jackson Square, the Garden District|gumbo and sweet beignets|the Mississippi River|spring
Washington|stately, green|on the east coast of the United States|its monuments, museums and wide avenues|the White House, the Lincoln Memorial, the Capitol|half smoke sausages and Ethiopian dishes|the Potomac River|spring
Denver|sunny, outdoor-loving|in the state of Colorado|its mountain views, parks and breweries|Union Station, Red Rocks, the Botanic Gardens|green chili|the South Platte River|summer
Toronto|modern, multicultural|in the province of Ontario in Canada|its skyline, neighborhoods and festivals|the CN Tower, Kensington Market, the Toronto Islands|peameal bacon sandwiches|Lake Ontario|summer
Vancouver|scenic, relaxed|on the west coast of Canada|its mountains, forests and ocean views|Stanley Park, Granville Island, Capilano Bridge|sushi and wild salmon|the Pacific Ocean|summer
Montreal|artistic, lively|in the province of Quebec in Canada|its festivals, French language and old streets|Mount Royal, the Old Port, Notre-Dame Basilica|poutine and bagels|the Saint Lawrence River|summer
Mexico City|huge, colorful|in a high valley of central Mexico|its museums, murals and ancient ruins|the Zocalo, Chapultepec Park, the Frida Kahlo Museum|tacos and tamales|the canals of Xochimilco|spring
Havana|colorful, nostalgic|on the north coast of Cuba|its old cars, music and colonial buildings|Old Havana, the Malecon, the Capitolio|rice and black beans|the Caribbean Sea|winter
Rio de Janeiro|lively, beautiful|on the coast of Brazil|its carnival, beaches and samba|Christ the Redeemer, Copacabana Beach, Sugarloaf Mountain|black bean stew|Guanabara Bay|autumn
Buenos Aires|elegant, passionate|on the coast of Argentina|its tango, cafes and grand avenues|the Teatro Colon, La Boca, Plaza de Mayo|grilled beef and empanadas|the Rio de la Plata|spring
Lima|coastal, historic|on the Pacific coast of Peru|its cooking, colonial squares and sea cliffs|the Plaza Mayor, Miraflores, the Larco Museum|ceviche|the Pacific Ocean|December
London|historic, cosmopolitan|in the south of England|its royal palaces, museums and red buses|Big Ben, the Tower of London, the British Museum|fish and chips|the River Thames|June
Edinburgh|dramatic, literary|in the east of Scotland|its castle, festivals and stone lanes|Edinburgh Castle, the Royal Mile, Arthur's Seat|haggis and shortbread|the Firth of Forth|August
Dublin|friendly, literary|on the east coast of Ireland|its pubs, writers and live music|Trinity College, Temple Bar, Phoenix Park|Irish stew|the River Liffey|May
Paris|romantic, elegant|in the north of France|its art, fashion and cafes|the Eiffel Tower, the Louvre, Notre-Dame|croissants and fine cheese|the Seine|spring
Lyon|refined, historic|in the east of France|its restaurants, silk and hidden passages|Old Lyon, the Basilica of Fourviere, Place Bellecour|sausages and quenelles|the Rhone|December
Nice|sunny, relaxed|on the French Riviera|its seaside promenade, markets and mild winters|the Promenade des Anglais, Castle Hill, the Old Town|socca and fresh salads|the Mediterranean Sea|May
Madrid|lively, grand|in the center of Spain|its art museums, parks and late dinners|the Prado Museum, Retiro Park, the Royal Palace|tapas and churros|the Manzanares River|autumn
Barcelona|creative, sunny|on the northeast coast of Spain|its unusual architecture, beaches and street life|the Sagrada Familia, Park Guell, La Rambla|tapas and paella|the Mediterranean Sea|May
Seville|warm, passionate|in the south of Spain|its flamenco, orange trees and tiled courtyards|the Alcazar, the Giralda, Plaza de Espana|gazpacho|the Guadalquivir River|April
Lisbon|bright, hilly|on the west coast of Portugal|its yellow trams, tiles and sad songs|Belem Tower, Alfama, Saint George's Castle|custard tarts and grilled sardines|the Tagus River|May
Porto|charming, old|in the north of Portugal|its wine cellars, bridges and blue tiles|the Ribeira, the Clerigos Tower, Livraria Lello|francesinha sandwiches|the Douro River|September
Rome|ancient, magnificent|in the center of Italy|its ruins, fountains and churches|the Colosseum, the Pantheon, the Trevi Fountain|pasta and gelato|the Tiber|April
Venice|unique, romantic|in the northeast of Italy|its canals, bridges and gondolas|Saint Mark's Square, the Rialto Bridge, the Doge's Palace|risotto and small seafood plates|the Venetian Lagoon|spring
Florence|beautiful, artistic|in the Tuscany region of Italy|its Renaissance art, churches and leather shops|the Uffizi Gallery, the Duomo, Ponte Vecchio|thick steaks and bean soup|the Arno|May
Milan|stylish, modern|in the north of Italy|its fashion, design and opera|the Milan Cathedral, La Scala, the Brera Gallery|saffron risotto|the Navigli canals|September
Naples|energetic, old|in the south of Italy|its street life, music and the nearby volcano|the Royal Palace, Spaccanapoli, the Archaeological Museum|pizza|the Bay of Naples|May
Athens|ancient, sunny|in the south of Greece|its temples, philosophers and theaters|the Acropolis, the Plaka, the Ancient Agora|souvlaki and Greek salad|the Aegean Sea|spring
Istanbul|grand, fascinating|in the northwest of Turkey|its mosques, markets and two continents|Hagia Sophia, the Blue Mosque, the Grand Bazaar|kebabs and baklava|the Bosphorus|April
Berlin|creative, historic|in the northeast of Germany|its museums, music and modern history|the Brandenburg Gate, Museum Island, the East Side Gallery|currywurst|the Spree|summer
Munich|prosperous, cheerful|in the south of Germany|its beer gardens, museums and mountain views|Marienplatz, the English Garden, Nymphenburg Palace|white sausages and pretzels|the Isar|September
Hamburg|maritime, green|in the north of Germany|its harbor, canals and concert hall|the Elbphilharmonie, the Speicherstadt, the fish market|fish sandwiches|the Elbe|summer
Vienna|elegant, musical|in the east of Austria|its concerts, palaces and coffee houses|Schonbrunn Palace, the State Opera, the Prater|schnitzel and chocolate cake|the Danube|December
Zurich|clean, prosperous|in the north of Switzerland|its banks, lake views and old town|the Grossmunster, Bahnhofstrasse, the Uetliberg|cheese fondue|Lake Zurich|summer
Amsterdam|charming, open-minded|in the west of the Netherlands|its canals, bicycles and narrow houses|the Rijksmuseum, the Anne Frank House, Vondelpark|pancakes and cheese|the Amstel|April
Brussels|friendly, international|in the center of Belgium|its guild houses, comics and chocolate|the Grand Place, the Atomium, Manneken Pis|waffles and fries|the old canal|May
Copenhagen|stylish, cozy|on the east coast of Denmark|its design, bicycles and colorful houses|Tivoli Gardens, Nyhavn, the Little Mermaid|open rye sandwiches|the Oresund|summer
Stockholm|beautiful, calm|on the east coast of Sweden|its islands, design and old town|Gamla Stan, the Vasa Museum, Skansen|meatballs and cinnamon buns|the Baltic Sea|June
Oslo|green, modern|in the south of Norway|its forests, museums and opera house|the Opera House, Vigeland Park, the Fram Museum|salmon and brown cheese|the Oslo Fjord|summer
Helsinki|calm, modern|on the south coast of Finland|its design, saunas and sea views|Senate Square, Suomenlinna, the Temple Church|salmon soup|the Baltic Sea|June
Reykjavik|small, colorful|in the southwest of Iceland|its warm pools, northern lights and music|Hallgrimskirkja, the Harpa hall, the Sun Voyager|lamb soup|the North Atlantic|summer
Prague|romantic, historic|in the west of the Czech Republic|its bridges, towers and old squares|Charles Bridge, Prague Castle, the Astronomical Clock|goulash and dumplings|the Vltava|May
Budapest|grand, lively|in the center of Hungary|its thermal baths, bridges and cafes|the Parliament, Buda Castle, the Chain Bridge|goulash soup|the Danube|September
Warsaw|resilient, modern|in the center of Poland|its rebuilt old town, parks and music|the Royal Castle, Lazienki Park, the Palace of Culture|dumplings|the Vistula|summer
Krakow|historic, charming|in the south of Poland|its market square, castle and legends|Wawel Castle, the Main Square, Kazimierz|dumplings and bread rings|the Vistula|May
Cairo|ancient, busy|in the north of Egypt|its pyramids, bazaars and minarets|the Pyramids of Giza, the Egyptian Museum, Khan el-Khalili|koshari|the Nile|winter
Marrakesh|colorful, fragrant|in the west of Morocco|its markets, gardens and red walls|the Majorelle Garden, Jemaa el-Fnaa, the Bahia Palace|tagine and mint tea|the Atlas Mountains|spring
Cape Town|spectacular, relaxed|on the southwest coast of South Africa|its mountain, beaches and vineyards|Table Mountain, Robben Island, the Waterfront|grilled fish and bobotie|the Atlantic Ocean|February
Nairobi|energetic, green|in the south of Kenya|its wildlife park, markets and cool air|Nairobi National Park, the Giraffe Centre, the National Museum|grilled meat and ugali|the Nairobi River|July
Dubai|modern, glittering|on the coast of the United Arab Emirates|its towers, malls and desert tours|the Burj Khalifa, Dubai Creek, Palm Jumeirah|shawarma and dates|the Persian Gulf|winter
Mumbai|energetic, crowded|on the west coast of India|its film industry, markets and sea views|the Gateway of India, Marine Drive, Elephanta Caves|spicy street snacks|the Arabian Sea|winter
Delhi|historic, busy|in the north of India|its forts, bazaars and wide gardens|the Red Fort, India Gate, Humayun's Tomb|butter chicken and parathas|the Yamuna|winter
Bangkok|lively, fragrant|in the center of Thailand|its temples, street food and river boats|the Grand Palace, Wat Arun, Chatuchak Market|noodles and green curry|the Chao Phraya|January
Singapore|clean, modern|at the southern tip of the Malay Peninsula|its gardens, harbor and food centers|Marina Bay, Gardens by the Bay, Sentosa|chicken rice and chili crab|the Singapore Strait|February
Hong Kong|dense, dazzling|on the south coast of China|its skyline, harbor and night markets|Victoria Peak, the Star Ferry, the Big Buddha|dim sum|Victoria Harbour|November
Shanghai|modern, fast|on the east coast of China|its towers, riverside and old gardens|the Bund, Yu Garden, the Oriental Pearl Tower|soup dumplings|the Huangpu River|October
Beijing|historic, grand|in the north of China|its palaces, temples and narrow lanes|the Forbidden City, the Temple of Heaven, the Summer Palace|roast duck|the Great Wall hills|October
Tokyo|fascinating, modern|on the east coast of Japan|its neon lights, gardens and quiet shrines|Shibuya Crossing, Senso-ji Temple, Tokyo Tower|sushi and ramen|Tokyo Bay|April
Kyoto|graceful, traditional|in the west of Japan|its temples, gardens and tea houses|the Golden Pavilion, Fushimi Inari, Nijo Castle|tofu and green tea sweets|the Kamo River|April
Osaka|cheerful, lively|in the west of Japan|its street food, comedy and castle|Osaka Castle, Dotonbori, the aquarium|takoyaki and okonomiyaki|Osaka Bay|spring
Seoul|dynamic, modern|in the northwest of South Korea|its palaces, markets and pop music|Gyeongbokgung Palace, Bukchon Village, N Seoul Tower|kimchi and grilled beef|the Han River|autumn
Sydney|sunny, beautiful|on the east coast of Australia|its harbor, beaches and opera house|the Opera House, the Harbour Bridge, Bondi Beach|fresh seafood|Sydney Harbour|November
Melbourne|creative, cultured|on the south coast of Australia|its coffee, lanes and sports|Federation Square, the Royal Botanic Gardens, the Queen Victoria Market|good coffee and brunch|the Yarra River|March
Auckland|green, maritime|on the North Island of New Zealand|its sailing boats, volcanoes and beaches|the Sky Tower, Mount Eden, Waiheke Island|lamb and green mussels|Waitemata Harbour|February
"""
CITIES = []
for row in TABLE.strip().splitlines():
    name, adjectives, where, known, sights, food, water, season = row.split("|")
    CITIES.append(dict(name=name, adj=adjectives.split(", "), where=where, known=known, sights=sights.split(", "), food=food,
                       water=water, season=season))

OPENINGS = [
    "{name} is a {a1} and {a2} city {where}. It is known for {known}.",
    "{name} is a {a1} and {a2} city that is known for {known}. It lies {where}.",
    "{name} is a {a1} and {a2} city {where}, famous for {known}.",
    "{name}, {where}, is famous for {known}.",
    "If you have never been to {name}, you are in for a treat. This {a1} and {a2} city {where} is known for {known}.",
    "Welcome to {name}, a {a1} and {a2} city {where}.",
    "Few places are like {name}. It is a {a1} and {a2} city, and it is loved for {known}.",
]
BODIES = [
    "Visitors enjoy {s1}, {s2} and {s3}.",
    "Most visitors begin at {s1} and then walk to {s2}.",
    "Among its best known sights are {s1} and {s2}.",
    "Do not miss {s1}, which is one of the most popular sights in the city.",
    "The food is another good reason to come, and many people fall in love with {food}.",
    "Local restaurants serve {food}, and the portions are generous.",
    "A walk near {water} is a lovely way to spend an evening.",
    "The views of {water} are at their best just before sunset.",
    "The best time to visit is {season}, when the weather is pleasant and the days are full of events.",
    "Many travelers come in {season}, so it is wise to book a room early.",
    "Families will find plenty to do, and most of it can be reached on foot or by public transport.",
    "On a rainy day, {s3} is a good choice.",
    "The locals are proud of {known}.",
]
ENDINGS = [
    "Whether you stay for a day or a week, {name} will give you something to remember.",
    "It is easy to see why so many people come back.",
    "Take comfortable shoes and plenty of time.",
    "Two or three days are enough to see the main sights, but a week is better.",
    "In short, {name} is well worth the trip.",
]


def fill(rng, city, text):
    sights = rng.sample(city["sights"], 3)
    text = text.format(name=city["name"], a1=city["adj"][0], a2=city["adj"][1], where=city["where"], known=city["known"],
                       food=city["food"], water=city["water"], season=city["season"], s1=sights[0], s2=sights[1], s3=sights[2])
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)


def description(rng, city=None, opening=None):
    city = city or rng.choice(CITIES)
    parts = [opening or rng.choice(OPENINGS)] + rng.sample(BODIES, rng.choice([0, 1, 2, 2, 3, 4, 5]))
    if rng.random() < 0.6:
        parts.append(rng.choice(ENDINGS))
    return " ".join(fill(rng, city, p) for p in parts)


GUIDES = [
    ("How to pack for a trip to {name}", "Check the weather first, since {season} can be very different from the rest of the year. Take good shoes, a light "
     "jacket and a small bag for the day. Leave some room for things that you buy, because {name} has good markets."),
    ("One day in {name}", "Start early at {s1}, before the crowds arrive. After a short break, go on to {s2} and stay there until lunch. "
     "In the afternoon there is time for {s3}. End the day with {food}, and then walk along {water}."),
    ("A letter from {name}", "Dear friend, I arrived in {name} this morning, and I already like it. The city is {a1} and {a2}, just as you told me. "
     "Tomorrow I want to see {s1}. In the evening I will try {food}. I will write again soon."),
    ("Two days in {name}", "On the first day, visit {s1} and {s2}, which are close to the center. On the second day, take your time at {s3}. "
     "Between the two, rest near {water} and taste {food}."),
]


def guide(rng):
    city = rng.choice(CITIES)
    title, body = rng.choice(GUIDES)
    return fill(rng, city, title) + "\n\n" + fill(rng, city, body)


def document(rng):
    return guide(rng) if rng.random() < 0.2 else description(rng)


if __name__ == "__main__":
    import random
    r = random.Random(0)
    print(len(CITIES))
    for _ in range(6):
        print(document(r), "\n")
