# Writes hashes as Devise makes them, with and without a pepper, as lines of JSON.
#
# gem install bcrypt -v 3.1.18
# ruby make.rb > ruby.jsonl
require "bcrypt"
require "json"

PEPPER = "9b1d4b8a" * 16

["correct horse", "pässwörd ☃ 密码", "pa\u0308ssword decomposed", "long" * 25].each do |password|
  made = BCrypt::Password.create(password, cost: 4).to_s
  puts JSON.generate({ kind: "bcrypt", password:, hash: made })
  made = BCrypt::Password.create("#{password}#{PEPPER}", cost: 4).to_s
  puts JSON.generate({ kind: "peppered", password:, hash: made })
end
