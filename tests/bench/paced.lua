-- chat.lua's requests, each after a pause of 0 to twice `mean` ms drawn anew: callers that think, where chat.lua's are a flood.
-- Arguments: API key, seed, mean.

local here = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(here .. "chat.lua")

local begin = init
local mean

function init(args)
  begin(args)
  mean = tonumber(args[3])
end

function delay()
  return math.random(0, 2 * mean)
end
